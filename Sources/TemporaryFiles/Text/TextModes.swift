/// What ends a line, and what becomes of it on reading and writing: Python's `newline` argument.
public enum NewlineMode: Sendable, Hashable, CaseIterable {
  /// `newline=None`. Reading: `\n`, `\r` and `\r\n` end a line and become `\n`. Writing: `\n` stays.
  case universal
  /// `newline=''`. Reading: `\n`, `\r` and `\r\n` end a line and stay what they are. Writing: `\n` stays.
  case untranslated
  /// `newline='\n'`. Only `\n` ends a line; nothing is translated.
  case lf
  /// `newline='\r'`. Only `\r` ends a line. Writing: `\n` becomes `\r`.
  case cr
  /// `newline='\r\n'`. Only `\r\n` ends a line. Writing: `\n` becomes `\r\n`.
  case crlf

  /// Whether the reader looks for all kinds of line ends, and so must see what comes after a `\r`.
  var seesAllKinds: Bool { self == .universal || self == .untranslated }

  /// What `\n` becomes on writing; nil: it stays.
  var written: [UInt8]? {
    switch self {
    case .universal, .untranslated, .lf: nil
    case .cr: [0x0d]
    case .crlf: [0x0d, 0x0a]
    }
  }
}

/// Kinds of line ends that a text has: Python's `newlines`.
public struct NewlineKinds: OptionSet, Sendable, Hashable {
  /// The bits of the kinds.
  public let rawValue: UInt8

  /// The kinds with these bits.
  public init(rawValue: UInt8) { self.rawValue = rawValue }

  /// `\r` alone.
  public static let cr = Self(rawValue: 1)
  /// `\n` alone.
  public static let lf = Self(rawValue: 2)
  /// `\r\n`.
  public static let crlf = Self(rawValue: 4)
}

/// What happens to bytes that are no text, and to text that has no bytes: Python's `errors` argument.
public enum TextErrorMode: Sendable, Hashable, CaseIterable {
  /// The operation throws `decodingFailed` or `encodingFailed`.
  case strict
  /// They are left out.
  case ignore
  /// Bytes become U+FFFD, one for each maximal part of a character; text becomes `?`.
  case replace
  /// Bytes become `\xNN`; text becomes `\xNN`, `\uNNNN` or `\UNNNNNNNN`.
  case backslashReplace
  /// Bytes from 0x80 on are kept in the text and written back as the same bytes. Bytes below that, and text that has no
  /// bytes, are errors as in `strict`.
  ///
  /// Python keeps byte 0xNN as the surrogate U+DCNN. A Swift string cannot hold surrogates, so it is U+EFNN here, from
  /// the private-use area: U+EF80 to U+EFFF. So that every file comes out as it went in, those scalars themselves count
  /// as undecodable bytes when they are found in a file.
  case surrogateEscape
}

/// A place in a text, as ``TextStream/position`` tells it, to go back to: what Python's `tell()` returns for text.
///
/// A number of characters would not do: bytes per character differ, and some encodings have a state. It belongs to the
/// stream that told it, or to another over the same bytes with the same settings.
public struct TextPosition: Sendable, Hashable {
  /// Where decoding begins, in bytes from the beginning of the file. The decoder has its initial state there.
  var offset: Int64
  /// Bytes from there whose text is passed over: for encodings with a state.
  var feed: Int64 = 0
  /// Bytes of UTF-8 of the text after those that are passed over, before line ends are translated.
  var skip: Int = 0
}
