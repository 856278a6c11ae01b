import SystemPackage
import Testing

@testable import TemporaryFiles

private struct Enough: Error {}

extension FileCase {
  func reading(_ file: inout some ByteFile & ~Copyable) throws {
    switch self {
    case .anEmptyFileIsAtItsEnd: try anEmptyFileIsAtItsEnd(&file)
    case .readingGoesOnWhereItStopped: try readingGoesOnWhereItStopped(&file)
    case .readingStopsAtTheEnd: try readingStopsAtTheEnd(&file)
    case .readingIntoNothing: try readingIntoNothing(&file)
    case .readingIntoASpan: try readingIntoASpan(&file)
    case .countsOfBytes: try countsOfBytes(&file)
    case .readingPastTheEnd: try readingPastTheEnd(&file)
    default: try readingLines(&file)
    }
  }

  private func readingLines(_ file: inout some ByteFile & ~Copyable) throws {
    switch self {
    case .linesKeepTheirNewline: try linesKeepTheirNewline(&file)
    case .linesOfAnyLength: try linesOfAnyLength(&file)
    case .linesCutOff: try linesCutOff(&file)
    case .linesByHint: try linesByHint(&file)
    case .linesOneByOne: try linesOneByOne(&file)
    default: try linesThenBytes(&file)
    }
  }

  private func anEmptyFileIsAtItsEnd(_ file: inout some ByteFile & ~Copyable) throws {
    #expect(try file.size == 0 && file.position == 0)
    #expect(try file.readToEnd() == [] && file.read(count: 5) == [])
    #expect(try file.readLine() == nil && file.readLines() == [])
  }

  private func readingGoesOnWhereItStopped(_ file: inout some ByteFile & ~Copyable) throws {
    try file.put("onetwothree")
    try file.seek(to: 0)
    #expect(try text(file.read(count: 3)) == "one" && file.position == 3)
    #expect(try text(file.read(count: 3)) == "two" && file.position == 6)
    #expect(try text(file.readToEnd()) == "three" && file.position == 11)
    #expect(try file.readToEnd() == [] && file.position == 11)
  }

  private func readingStopsAtTheEnd(_ file: inout some ByteFile & ~Copyable) throws {
    try file.put("abc")
    try file.seek(to: 1)
    var bytes = [UInt8](repeating: 7, count: 10)
    let count = try bytes.withUnsafeMutableBytes { try file.read(into: $0) }
    #expect(count == 2 && bytes == Array("bc".utf8) + [UInt8](repeating: 7, count: 8))
    #expect(try bytes.withUnsafeMutableBytes { try file.read(into: $0) } == 0)
    #expect(try file.position == 3)
  }

  private func readingIntoNothing(_ file: inout some ByteFile & ~Copyable) throws {
    try file.put("abc")
    try file.seek(to: 1)
    #expect(try file.read(into: UnsafeMutableRawBufferPointer(start: nil, count: 0)) == 0)
    #expect(try file.read(count: 0) == [] && file.position == 1)
  }

  private func readingIntoASpan(_ file: inout some ByteFile & ~Copyable) throws {
    try file.put("abcd")
    try file.seek(to: 1)
    var bytes = [UInt8](repeating: 0, count: 2)
    var span = bytes.mutableSpan
    var raw = span.mutableBytes
    #expect(try file.read(into: &raw) == 2)
    #expect(bytes == Array("bc".utf8))
    #expect(try file.position == 3)
  }

  private func countsOfBytes(_ file: inout some ByteFile & ~Copyable) throws {
    try file.put("abc")
    try file.seek(to: 1)
    failure(.invalidArgument) { () throws(TemporaryFileError) in _ = try file.read(count: -1) }
    failure(.invalidArgument) { () throws(TemporaryFileError) in _ = try file.readLine(maximumCount: -1) }
    #expect(try file.position == 1)
    #expect(try text(file.read(count: .max)) == "bc")
  }

  private func readingPastTheEnd(_ file: inout some ByteFile & ~Copyable) throws {
    try file.put("abc")
    try file.seek(to: 1000)
    #expect(try file.readToEnd() == [] && file.readLine() == nil && file.read(count: 10) == [])
    #expect(try file.position == 1000 && file.size == 3)
  }

  private func linesKeepTheirNewline(_ file: inout some ByteFile & ~Copyable) throws {
    try file.put("one\n\r\n\ntwo\rthree\nfour")
    try file.seek(to: 0)
    #expect(try file.readLines().map(text) == ["one\n", "\r\n", "\n", "two\rthree\n", "four"])
    #expect(try file.readLine() == nil && file.position == 21)
  }

  private func linesOfAnyLength(_ file: inout some ByteFile & ~Copyable) throws {
    // Around what is read at a time.
    let lengths = [0, 1, 254, 255, 256, 257, 511, 512, 767, 768, 8191, 8192, 8193, 70_000, 0]
    for length in lengths { try file.write([UInt8](repeating: 97, count: length) + [10]) }
    try file.seek(to: 0)
    for length in lengths {
      let line = try #require(try file.readLine())
      #expect(line.count == length + 1 && line.last == 10)
    }
    #expect(try file.readLine() == nil)
  }

  private func linesCutOff(_ file: inout some ByteFile & ~Copyable) throws {
    try file.put("abcdef\ngh")
    try file.seek(to: 0)
    #expect(try file.readLine(maximumCount: 0) == nil)
    #expect(try file.readLine(maximumCount: 4).map(text) == "abcd")
    #expect(try file.readLine(maximumCount: 3).map(text) == "ef\n")
    #expect(try file.readLine(maximumCount: 1).map(text) == "g")
    #expect(try file.readLine(maximumCount: 100).map(text) == "h")
    #expect(try file.readLine(maximumCount: 100) == nil)
  }

  private func linesByHint(_ file: inout some ByteFile & ~Copyable) throws {
    try file.put("ab\ncd\nef\ngh\n")
    for (hint, count) in [(1, 1), (3, 1), (4, 2), (6, 2), (7, 3), (100, 4), (0, 4), (-1, 4)] {
      try file.seek(to: 0)
      #expect(try file.readLines(sizeHint: hint).count == count, "hint \(hint)")
    }
  }

  private func linesOneByOne(_ file: inout some ByteFile & ~Copyable) throws {
    try file.put("ab\ncd\nef\ngh")
    try file.seek(to: 3)
    var lines: [String] = []
    #expect(throws: Enough.self) {
      try file.forEachLine { line in
        lines.append(text(line))
        if lines.count == 2 { throw Enough() }
      }
    }
    #expect(try lines == ["cd\n", "ef\n"] && file.position == 9)
    try file.forEachLine { lines.append(text($0)) }
    #expect(lines == ["cd\n", "ef\n", "gh"])
  }

  private func linesThenBytes(_ file: inout some ByteFile & ~Copyable) throws {
    try file.put("ab\ncdefg\n")
    try file.seek(to: 0)
    #expect(try file.readLine().map(text) == "ab\n")
    #expect(try text(file.read(count: 2)) == "cd")
    try file.put("XY")
    #expect(try file.readLine().map(text) == "g\n")
    #expect(try file.all() == "ab\ncdXYg\n")
  }
}
