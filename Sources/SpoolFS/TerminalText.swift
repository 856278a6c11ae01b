package import SystemPackage

/// Text that others chose, made fit for a terminal or a log: names of files, commands, sources of mounts.
///
/// A terminal obeys control characters, and text that runs from right to left hides what a name is. A line of a log ends at
/// a newline. So these are written as `ls -b` writes them, in octal or as `\n`, and nothing that is printed is ambiguous.
package enum TerminalText {
  /// One value as printable text, from which the bytes can be told. A backslash is written as two.
  package static func escape(_ bytes: some Sequence<UInt8>) -> String {
    rewrite(Array(bytes)) { $0 == UInt8(ascii: "\\") || $0 == UInt8(ascii: "\n") }
  }

  /// One value as printable text.
  package static func escape(_ text: String) -> String { escape(text.utf8) }

  /// A whole message, whose values have been escaped: what is left of control characters in it goes the same way.
  package static func sanitize(_ text: String, keepingNewlines: Bool = false) -> String {
    sanitize(text.utf8, keepingNewlines: keepingNewlines)
  }

  package static func sanitize(_ bytes: some Sequence<UInt8>, keepingNewlines: Bool = false) -> String {
    rewrite(Array(bytes)) { $0 == UInt8(ascii: "\n") && !keepingNewlines }
  }

  /// Whether a terminal shows the character as it is, and does nothing else.
  static func isPrintable(_ scalar: Unicode.Scalar) -> Bool {
    if scalar.isASCII { return (0x20..<0x7f).contains(scalar.value) }
    return switch scalar.properties.generalCategory {
    case .control, .lineSeparator, .paragraphSeparator, .surrogate: false
    // Joiners belong to words and emoji; the others change direction, or are not seen.
    case .format: scalar.value == 0x200c || scalar.value == 0x200d
    default: true
    }
  }

  private static func rewrite(_ bytes: [UInt8], escaping isSpecial: (UInt8) -> Bool) -> String {
    var text = String.UnicodeScalarView()
    var rest = bytes[...]
    while let byte = rest.first {
      if let scalar = firstScalar(of: rest) {
        let width = UTF8.width(scalar)
        if !isSpecial(byte), isPrintable(scalar) || byte == UInt8(ascii: "\n") {
          text.append(scalar)
        } else {
          for part in rest.prefix(width) { text.append(contentsOf: code(of: part).unicodeScalars) }
        }
        rest.removeFirst(width)
      } else {
        text.append(contentsOf: code(of: byte).unicodeScalars)
        rest.removeFirst()
      }
    }
    return String(text)
  }

  /// The character that valid UTF-8 begins with; nil where it does not.
  static func firstScalar(of bytes: ArraySlice<UInt8>) -> Unicode.Scalar? {
    var decoder = UTF8()
    var iterator = bytes.prefix(4).makeIterator()
    guard case .scalarValue(let scalar) = decoder.decode(&iterator) else { return nil }
    return scalar
  }

  private static func code(of byte: UInt8) -> String {
    switch byte {
    case 7...13: "\\" + String(Array("abtnvfr")[Int(byte) - 7])
    case UInt8(ascii: "\\"): "\\\\"
    default: "\\" + String(repeating: "0", count: byte < 8 ? 2 : byte < 64 ? 1 : 0) + String(byte, radix: 8)
    }
  }
}

extension FilePath {
  /// The path as it is shown to people (`TerminalText.escape`).
  package var escaped: String { TerminalText.escape(bytes) }
}
