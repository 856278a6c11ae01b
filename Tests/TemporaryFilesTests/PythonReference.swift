import Glibc
import SystemPackage
import TestSupport
import Testing

/// CPython's `tempfile`, to compare with: runs scripts of operations, and says what each operation gave there.
///
/// Tests/PythonReference/reference.py describes the operations.
struct PythonReference {
  /// What an operation gives.
  enum Answer: Equatable {
    case nothing
    case number(Int64)
    case bytes([UInt8])
    /// As UTF-8, surrogates allowed.
    case text([UInt8])
    /// How many there are, and all of them joined.
    case list(count: Int, [UInt8])
    /// The name of the exception.
    case exception(String)
  }

  private static let interpreter = "/usr/bin/python3"
  static let isAvailable = access(interpreter, X_OK) == 0

  /// The bytes that scripts write: text with newlines now and then, of no short period.
  static let pattern: [UInt8] = {
    var random = SeededGenerator(seed: 7)
    return (0..<80_000).map { _ in
      Int.random(in: 0..<24, using: &random) == 0
        ? UInt8(ascii: "\n") : UInt8.random(in: UInt8(ascii: "a")...UInt8(ascii: "z"), using: &random)
    }
  }()

  /// One answer for each line. Each script begins with `open`.
  static func run(_ lines: [String]) throws -> [Answer] {
    let digits = Array("0123456789abcdef".utf8)
    let pattern = pattern.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }
    let input = "pattern \(String(decoding: pattern, as: UTF8.self))\n\(lines.joined(separator: "\n"))\n"
    let answers = try parse(output(of: "reference.py", given: input.utf8))
    try #require(answers.count == lines.count)
    return answers
  }

  /// What a program of Tests/PythonReference writes. Through files, not pipes: neither side can then wait for the other.
  static func output(of program: String, given input: some Sequence<UInt8>) throws -> [UInt8] {
    let folder = try Sandbox()
    let (given, written) = (folder.path.appending("input"), folder.path.appending("output"))
    defer {
      unlink(given.string)
      unlink(written.string)
    }
    let file = try FileDescriptor.open(given, .writeOnly, options: .create, permissions: .ownerReadWrite)
    try file.closeAfter { _ = try file.writeAll(input) }
    let path = FilePath(#filePath).removingLastComponent().removingLastComponent()
      .appending("PythonReference").appending(program)
    let status = system("\(interpreter) -I -X utf8 '\(path)' <'\(given)' >'\(written)'")
    try #require(status == 0, "\(program) failed; it says why on standard error")
    return try contents(of: written)
  }

  private static func parse(_ records: [UInt8]) throws -> [Answer] {
    var answers: [Answer] = []
    var place = 0
    while place < records.count {
      let length = (1...4).reduce(0) { $0 | Int(records[place + $1]) << (8 * ($1 - 1)) }
      let value = records[(place + 5)..<(place + 5 + length)]
      answers.append(try answer(records[place], value))
      place += 5 + length
    }
    return answers
  }

  private static func answer(_ kind: UInt8, _ value: ArraySlice<UInt8>) throws -> Answer {
    let text = { String(decoding: value, as: UTF8.self) }
    switch UnicodeScalar(kind) {
    case "n": return .nothing
    case "i": return .number(try #require(Int64(text())))
    case "b": return .bytes(Array(value))
    case "s": return .text(Array(value))
    case "e": return .exception(text())
    default:
      let colon = try #require(value.firstIndex(of: UInt8(ascii: ":")))
      let count = try #require(Int(String(decoding: value[..<colon], as: UTF8.self)))
      return .list(count: count, Array(value[(colon + 1)...]))
    }
  }
}
