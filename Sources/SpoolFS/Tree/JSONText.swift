/// Strings of JSON, fit for a terminal as well: what it would obey is written as `\u` and four digits.
package enum JSONText {
  /// Bytes as a string of JSON; what is not UTF-8 becomes lone surrogates U+DC80 to U+DCFF, Python's `surrogateescape`.
  package static func quote(_ bytes: [UInt8]) -> String {
    var text = "\""
    var rest = bytes[...]
    while let byte = rest.first {
      if byte < 0x80 {
        rest.removeFirst()
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"): text += "\\" + String(UnicodeScalar(byte))
        case 0..<0x20, 0x7f: text += escape(UInt16(byte))
        default: text.unicodeScalars.append(UnicodeScalar(byte))
        }
      } else if let scalar = TerminalText.firstScalar(of: rest) {
        rest.removeFirst(UTF8.width(scalar))
        append(scalar, to: &text)
      } else {
        rest.removeFirst()
        text += escape(0xdc00 + UInt16(byte))
      }
    }
    return text + "\""
  }

  /// The same JSON, which came from elsewhere, for a terminal.
  package static func printable(_ json: String) -> String {
    var text = ""
    for scalar in json.unicodeScalars { append(scalar, to: &text) }
    return text
  }

  private static func append(_ scalar: Unicode.Scalar, to text: inout String) {
    if TerminalText.isPrintable(scalar) {
      text.unicodeScalars.append(scalar)
    } else {
      for unit in UTF16.encode(scalar)! { text += escape(unit) }
    }
  }

  private static func escape(_ unit: UInt16) -> String {
    let digits = String(unit, radix: 16)
    return "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
  }
}
