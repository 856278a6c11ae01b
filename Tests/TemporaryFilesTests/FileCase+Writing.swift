import SystemPackage
import Testing

@testable import TemporaryFiles

extension FileCase {
  func writingAndSeeking(_ file: inout some ByteFile & ~Copyable) throws {
    switch self {
    case .writingMovesThePosition: try writingMovesThePosition(&file)
    case .writingOver: try writingOver(&file)
    case .writingNothing: try writingNothing(&file)
    case .writingWhatIsNoArray: try writingWhatIsNoArray(&file)
    case .writingLines: try writingLines(&file)
    case .readingWhatIsPending: try readingWhatIsPending(&file)
    case .writingPastTheEnd: try writingPastTheEnd(&file)
    case .writingLargeAndSmall: try writingLargeAndSmall(&file)
    default: try seeking(&file)
    }
  }

  private func seeking(_ file: inout some ByteFile & ~Copyable) throws {
    switch self {
    case .seekingFromEachOrigin: try seekingFromEachOrigin(&file)
    case .seekingBelowZero: try seekingBelowZero(&file)
    case .seekingPastTheEnd: try seekingPastTheEnd(&file)
    case .seekingTooFar: try seekingTooFar(&file)
    default: try atTheLargestOffset(&file)
    }
  }

  private func writingMovesThePosition(_ file: inout some ByteFile & ~Copyable) throws {
    try file.put("abc")
    #expect(try file.position == 3 && file.size == 3)
    try file.put("def")
    #expect(try file.position == 6 && file.size == 6)
    #expect(try file.all() == "abcdef")
  }

  private func writingOver(_ file: inout some ByteFile & ~Copyable) throws {
    try file.put("abcdef")
    try file.seek(to: 2)
    try file.put("XY")
    #expect(try file.position == 4 && file.size == 6)
    #expect(try text(file.readToEnd()) == "ef")
    try file.seek(to: 5)
    try file.put("123")
    #expect(try file.all() == "abXYe123")
  }

  private func writingNothing(_ file: inout some ByteFile & ~Copyable) throws {
    try file.put("abc")
    try file.seek(to: 100)
    try file.write([])
    try file.write(UnsafeRawBufferPointer(start: nil, count: 0))
    #expect(try file.size == 3 && file.position == 100)
  }

  private func writingWhatIsNoArray(_ file: inout some ByteFile & ~Copyable) throws {
    try file.write(contentsOf: "ab".utf8)
    try file.write(contentsOf: (0..<3).lazy.map { UInt8(ascii: "c") + UInt8($0) })
    try file.write(contentsOf: EmptyCollection<UInt8>())
    try file.write(([102, 103] as [UInt8]).span.bytes)
    try file.write(contentsOf: AnySequence(Array("h".utf8)))
    #expect(try file.all() == "abcdefgh")
  }

  private func writingLines(_ file: inout some ByteFile & ~Copyable) throws {
    try file.writeLines(["a\n".utf8, "b".utf8, "".utf8, "c\n".utf8])
    try file.writeLines([[UInt8]]())
    #expect(try file.all() == "a\nbc\n" && file.position == 5)
  }

  private func readingWhatIsPending(_ file: inout some ByteFile & ~Copyable) throws {
    try file.put("abcdef")
    try file.seek(to: 1)
    #expect(try text(file.read(count: 2)) == "bc")
    try file.put("X")
    #expect(try text(file.read(count: 1)) == "e")
    try file.put("Y")
    try file.seek(to: -1, from: .current)
    #expect(try text(file.read(count: 9)) == "Y")
    #expect(try file.all() == "abcXeY")
  }

  private func writingPastTheEnd(_ file: inout some ByteFile & ~Copyable) throws {
    try file.put("ab")
    try file.seek(to: 5)
    try file.put("c")
    #expect(try file.size == 6 && file.position == 6)
    #expect(try file.all() == "ab...c")
  }

  private func writingLargeAndSmall(_ file: inout some ByteFile & ~Copyable) throws {
    var expected: [UInt8] = []
    for (number, count) in [1, 8191, 8192, 8193, 2, 3, 100_000, 5, 8192, 1].enumerated() {
      let bytes = [UInt8](repeating: UInt8(number + 1), count: count)
      expected += bytes
      try file.write(bytes)
      #expect(try file.size == Int64(expected.count) && file.position == Int64(expected.count))
    }
    try file.seek(to: 0)
    #expect(try file.readToEnd() == expected)
  }

  private func seekingFromEachOrigin(_ file: inout some ByteFile & ~Copyable) throws {
    try file.put("abcdef")
    #expect(try file.seek(to: 1) == 1)
    #expect(try file.seek(to: 2, from: .current) == 3)
    #expect(try file.seek(to: -1, from: .current) == 2)
    #expect(try text(file.read(count: 1)) == "c")
    #expect(try file.seek(to: -2, from: .end) == 4)
    #expect(try text(file.readToEnd()) == "ef")
    #expect(try file.seek(to: 0, from: .end) == 6)
    #expect(try file.seek(to: 4, from: .end) == 10)
    #expect(try file.position == 10 && file.size == 6)
  }

  private func seekingBelowZero(_ file: inout some ByteFile & ~Copyable) throws {
    try file.put("abc")
    try file.seek(to: 2)
    failure(.invalidArgument) { () throws(TemporaryFileError) in try file.seek(to: -1) }
    failure(.invalidArgument) { () throws(TemporaryFileError) in try file.seek(to: -3, from: .current) }
    failure(.invalidArgument) { () throws(TemporaryFileError) in try file.seek(to: -4, from: .end) }
    failure(.invalidArgument) { () throws(TemporaryFileError) in try file.seek(to: .min) }
    #expect(try file.position == 2)
    #expect(try file.seek(to: -2, from: .current) == 0 && file.seek(to: -3, from: .end) == 0)
  }

  private func seekingPastTheEnd(_ file: inout some ByteFile & ~Copyable) throws {
    try file.put("abc")
    try file.seek(to: 1 << 33)
    #expect(try file.size == 3 && file.position == 1 << 33)
    #expect(try file.readToEnd() == [])
    #expect(try file.seek(to: -(1 << 33), from: .current) == 0)
    #expect(try text(file.readToEnd()) == "abc")
  }

  private func seekingTooFar(_ file: inout some ByteFile & ~Copyable) throws {
    try file.put("abc")
    failure(.invalidArgument) { () throws(TemporaryFileError) in try file.seek(to: .max, from: .current) }
    failure(.invalidArgument) { () throws(TemporaryFileError) in try file.seek(to: .max, from: .end) }
    #expect(try file.position == 3)
  }

  private func atTheLargestOffset(_ file: inout some ByteFile & ~Copyable) throws {
    try file.put("abc")
    // A descriptor's offset cannot be that large.
    do throws(TemporaryFileError) { try file.seek(to: .max) } catch {
      #expect(error.code == .invalidArgument)
      return
    }
    #expect(try file.read(count: 10) == [] && file.readLine() == nil)
    failure(.sizeLimitExceeded) { () throws(TemporaryFileError) in try file.put("d") }
    #expect(try file.size == 3 && file.position == .max)
    #expect(try file.all() == "abc")
  }
}
