import Testing

@testable import SpoolFS

/// When more readers are worth it.
@Suite struct OverlapsTests {
  private func verdicts(_ overlaps: borrowing Overlaps, _ requests: [Bool]) -> [Overlaps.Verdict] {
    requests.map { overlaps.note(overlapping: $0) }.filter { $0 != .undecided }
  }

  @Test func oneOverlapProvesNothing() {
    let overlaps = Overlaps()
    let calm = Array(repeating: false, count: Overlaps.calm)
    #expect(verdicts(overlaps, [true] + calm) == [.oneReader])
    // It is forgotten by then.
    #expect(verdicts(overlaps, Array(repeating: true, count: Overlaps.convincing - 1)) == [])
  }

  @Test func oftenIsConvincing() {
    let overlaps = Overlaps()
    let pair = [true, false]
    let requests = Array(repeating: pair, count: Overlaps.convincing).flatMap { $0 }
    #expect(verdicts(overlaps, requests) == [.moreReaders])
    #expect(verdicts(overlaps, requests) == [.moreReaders])
  }

  @Test func oneReaderIsEnoughAgainAfterACalmTime() {
    let overlaps = Overlaps()
    #expect(verdicts(overlaps, Array(repeating: true, count: Overlaps.convincing)) == [.moreReaders])
    #expect(verdicts(overlaps, Array(repeating: false, count: Overlaps.calm - 1) + [true]) == [])
    #expect(verdicts(overlaps, Array(repeating: false, count: Overlaps.calm)) == [.oneReader])
  }
}
