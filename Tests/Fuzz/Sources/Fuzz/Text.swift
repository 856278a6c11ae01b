@testable import SpoolStorage
@testable import TemporaryFiles

private let encodings: [TextEncoding] =
  [
    .utf8, .utf8WithMark, .utf16, .utf16LittleEndian, .utf16BigEndian, .utf32, .utf32LittleEndian, .utf32BigEndian,
    .latin1, .ascii,
  ] + ["cp1252", "koi8-r", "shift_jis", "euc-kr", "gb18030", "iso2022-jp"].compactMap { try? TextEncoding(named: $0) }

private let newlines: [NewlineMode] = [.universal, .untranslated]

/// Bytes as text, whole and in small pieces: both give the same text, or both none.
///
/// The first bytes of an input choose encoding, treatment of faults, line ends and the size of a piece.
@Sendable func fuzzText(_ input: UnsafeBufferPointer<UInt8>) {
  guard input.count > 4 else { return }
  let encoding = encodings[Int(input[0]) % encodings.count]
  let errors = TextErrorMode.allCases[Int(input[1]) % TextErrorMode.allCases.count]
  let newline = newlines[Int(input[2]) % newlines.count]
  let bytes = Array(input[4...])
  let whole = decoded(bytes, encoding, errors, newline, chunkSize: 1 << 16)
  let pieces = decoded(bytes, encoding, errors, newline, chunkSize: 16 + Int(input[3]))
  demand(whole == pieces, "\(encoding), \(errors), \(newline): \(whole ?? "nothing") or \(pieces ?? "nothing")")
  guard let whole else { return }
  if encoding == .utf8, errors == .strict, newline == .untranslated {
    demand(Array(whole.utf8) == bytes, "utf-8 changed \(bytes)")
  }
  if encoding == .utf8, errors == .surrogateEscape, newline == .untranslated {
    demand(encoded(whole, encoding, errors) == bytes, "\(bytes) did not come back")
  }
}

private func decoded(
  _ bytes: [UInt8], _ encoding: TextEncoding, _ errors: TextErrorMode, _ newline: NewlineMode, chunkSize: Int
) -> String? {
  do throws(TemporaryFileError) {
    var file = try SpooledTemporaryFile(threshold: .unlimited)
    try file.write(bytes)
    try file.seek(to: 0)
    var stream = TextStream(file, encoding: encoding, newline: newline, errors: errors, chunkSize: chunkSize)
    return try stream.readToEnd()
  } catch {
    return nil
  }
}

private func encoded(_ text: String, _ encoding: TextEncoding, _ errors: TextErrorMode) -> [UInt8]? {
  do throws(TemporaryFileError) {
    var stream = TextStream(
      try SpooledTemporaryFile(threshold: .unlimited), encoding: encoding, newline: .untranslated, errors: errors)
    try stream.write(text)
    var file = try stream.detach()
    try file.seek(to: 0)
    return try file.readToEnd()
  } catch {
    return nil
  }
}
