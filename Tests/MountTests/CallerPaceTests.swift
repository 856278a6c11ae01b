import Testing

@testable import SpoolFS

/// When a reader looks where its caller is.
@Suite struct CallerPaceTests {
  private static let short = 10_000
  private static let long = 90_000

  /// Requests after these pauses; each look finds that the caller has moved, or not.
  ///
  /// - Returns: the numbers of the requests at which it looked.
  private func looks(_ pace: inout CallerPace, after pauses: [Int], hasMoved: Bool = false) -> [Int] {
    pauses.indices.filter { index in
      let isDue = pace.takesRequest(after: pauses[index])
      if isDue { pace.looked(hasMoved: hasMoved) }
      return isDue
    }
  }

  private func repeated(_ pause: Int, _ count: Int) -> [Int] { Array(repeating: pause, count: count) }

  /// One that has just found its caller, whose pauses are short.
  private func settled() -> CallerPace {
    var pace = CallerPace()
    _ = looks(&pace, after: repeated(Self.short, 2 * CallerPace.longestInterval + 1), hasMoved: true)
    return pace
  }

  @Test func theFirstRequestIsLookedInto() {
    var pace = CallerPace()
    #expect(looks(&pace, after: [Self.short]) == [0])
  }

  @Test func aSteadyCallerIsLookedForNowAndThen() {
    var pace = CallerPace()
    let every = CallerPace.longestInterval
    #expect(looks(&pace, after: repeated(Self.short, 3 * every)) == [0, every, 2 * every])
  }

  @Test func longPausesAreLookedIntoSoon() {
    var pace = settled()
    let found = looks(&pace, after: repeated(Self.short, CallerPace.shortestInterval) + [Self.long, Self.long])
    #expect(found == [CallerPace.shortestInterval + 1])
  }

  @Test func oneLongPauseIsNot() {
    var pace = settled()
    let pauses = repeated(Self.short, 5) + [Self.long] + repeated(Self.short, 5) + [Self.long] + repeated(Self.short, 5)
    #expect(looks(&pace, after: pauses) == [])
  }

  /// A caller that takes its time between requests is not looked for at each.
  @Test func longPausesThatMeanNothingBecomeUsual() {
    var pace = settled()
    let found = looks(&pace, after: repeated(Self.long, 10 * CallerPace.longestInterval))
    #expect(found.count < 20)
    #expect(found.suffix(3).adjacentDistances == [CallerPace.longestInterval, CallerPace.longestInterval])
  }
}

extension Collection<Int> {
  fileprivate var adjacentDistances: [Int] { zip(self, dropFirst()).map { $1 - $0 } }
}
