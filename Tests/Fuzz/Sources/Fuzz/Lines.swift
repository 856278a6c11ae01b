import Foundation
import SystemPackage

@testable import SpoolFS

/// Lines of /proc/self/mountinfo: one with fewer fields than there must be is none.
@Sendable func fuzzMountTable(_ input: UnsafeBufferPointer<UInt8>) {
  for line in Array(input).split(separator: UInt8(ascii: "\n")) {
    let fields = line.split(separator: UInt8(ascii: " "))
    if MountEntry(line: line) != nil { demand(fields.count >= 9, "\(fields.count) fields") }
  }
}

/// Lists of `-o`, sizes, modes, counts and ids.
@Sendable func fuzzOptions(_ input: UnsafeBufferPointer<UInt8>) {
  let text = String(decoding: input, as: UTF8.self)
  var settings = Settings()
  try? OptionList.apply(text, to: &settings)
  if let amount = try? SizeAmount(parsing: text) {
    for memory in [0, 1, 4096, 24 << 30, Int64.max / 1_000_000] {
      demand(amount.resolved(memory: memory).map { $0 >= 0 } ?? true, "\(text) of \(memory)")
    }
  }
  if let mode = try? parseMode(text) { demand(mode <= 0o7777, text) }
  if let count = try? parseCount(text) { demand(count >= 0, text) }
  _ = try? parseIdentifier(text)
}

/// Of `-o` lists alone: the command reads paths from its arguments' bytes.
enum CommandLineBytes {
  static func path(_ argument: String) -> FilePath { FilePath(argument) }
}

/// Names in the listing of `.spoolfs/files`: any bytes come back, and the text is one line of JSON.
@Sendable func fuzzJSON(_ input: UnsafeBufferPointer<UInt8>) {
  var object = JSONObject()
  object["name"] = .string(Array(input))
  let text = Array(object.json.utf8)
  demand(text.allSatisfy { $0 >= 0x20 && $0 != 0x7f }, object.json)
  let (prefix, suffix) = (Array("{\"name\":\"".utf8), Array("\"}".utf8))
  demand(text.starts(with: prefix) && text.suffix(2) == suffix[...], object.json)
  let quoted = text.dropFirst(prefix.count).dropLast(suffix.count)
  demand(unquoted(quoted) == Array(input), "\(Array(input)) became \(object.json)")
}

/// The bytes that a JSON string stands for, where lone surrogates U+DC80 to U+DCFF are bytes.
private func unquoted(_ text: ArraySlice<UInt8>) -> [UInt8]? {
  var bytes: [UInt8] = []
  var rest = text
  while let byte = rest.popFirst() {
    guard byte == UInt8(ascii: "\\") else {
      if byte == UInt8(ascii: "\"") { return nil }
      bytes.append(byte)
      continue
    }
    switch rest.popFirst() {
    case UInt8(ascii: "u"):
      guard let unit = UInt32(String(decoding: rest.prefix(4), as: UTF8.self), radix: 16) else { return nil }
      rest = rest.dropFirst(4)
      if (0xdc80...0xdcff).contains(unit) {
        bytes.append(UInt8(truncatingIfNeeded: unit))
      } else if let scalar = Unicode.Scalar(unit) {
        bytes += UTF8.encode(scalar)!
      } else {
        // The first half of a pair.
        guard rest.popFirst() == UInt8(ascii: "\\"), rest.popFirst() == UInt8(ascii: "u"),
          let low = UInt32(String(decoding: rest.prefix(4), as: UTF8.self), radix: 16),
          (0xdc00...0xdfff).contains(low), (0xd800..<0xdc00).contains(unit),
          let scalar = Unicode.Scalar(0x10000 + (unit - 0xd800) << 10 + low - 0xdc00)
        else { return nil }
        rest = rest.dropFirst(4)
        bytes += UTF8.encode(scalar)!
      }
    case let other?: bytes.append(other)
    case nil: return nil
    }
  }
  return bytes
}
