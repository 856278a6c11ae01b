import Testing

@testable import SpoolFS

/// When the kernel reads ahead of a program.
@Suite struct ReadStreamTests {
  private static let count = 1 << 20

  /// What is said of READs of whole pieces, by their places in a file.
  private func verdicts(_ places: [Int], count: Int = Self.count, file: UInt64 = 3) -> [Bool] {
    var stream = ReadStream()
    return places.map { stream.goesOn(with: .init(file: file, offset: Int64($0 * count), count: count)) }
  }

  @Test func whatGoesOnIsAStream() {
    #expect(verdicts(Array(10..<15)) == [false, true, true, true, true])
  }

  @Test func severalThreadsMayTakeThemOutOfOrder() {
    #expect(verdicts([0, 2, 1, 4, 3, 5, 8, 6, 7, 9]) == [false] + Array(repeating: true, count: 9))
  }

  @Test func readsFarApartAreNone() {
    #expect(verdicts([0, 100, 50, 7, 70]) == Array(repeating: false, count: 5))
    #expect(verdicts([90, 80, 70, 60]) == Array(repeating: false, count: 4))
  }

  @Test func whatIsReadBackwardsOrAgainIsNone() {
    #expect(verdicts([90, 89, 88, 87, 86]) == Array(repeating: false, count: 5))
    #expect(verdicts([5, 5, 5]) == Array(repeating: false, count: 3))
    // What was left out comes late only once.
    #expect(verdicts([0, 2, 1, 1]) == [false, true, true, false])
  }

  @Test func eachFileHasAStreamOfItsOwn() {
    var stream = ReadStream()
    func goesOn(_ file: UInt64, _ place: Int) -> Bool {
      stream.goesOn(with: .init(file: file, offset: Int64(place * Self.count), count: Self.count))
    }
    #expect(!goesOn(3, 0))
    #expect(goesOn(3, 1))
    #expect(!goesOn(4, 2))
    #expect(goesOn(4, 3))
    #expect(!goesOn(3, 2))
  }

  @Test func anyOffsetIsTaken() {
    var stream = ReadStream()
    for offset in [0, Int64.max, .min, -1, .max - 1] {
      for count in [0, ReadStream.leastRead, Int(UInt32.max)] {
        _ = stream.goesOn(with: .init(file: 3, offset: offset, count: count))
      }
    }
  }
}
