/// How a text is stored in bytes: Python's `encoding` argument.
///
/// Unicode, Latin-1 and ASCII are built in and give what Python gives; any other encoding is the C library's
/// (`iconv(3)`), by name.
public struct TextEncoding: Sendable {
  /// How the encoding is done.
  enum Form: Sendable {
    case utf8
    case utf16(ByteOrder?)
    case utf32(ByteOrder?)
    case latin1
    case ascii
    /// One byte a character, always the same: decoded by this table, `TextDecoder.unassigned` where there is none.
    case table([UInt32])
    /// By iconv. Without a state between characters, decoding may begin at any of them.
    case iconv(isStateful: Bool)
  }

  /// The name, as Python has it for those that are built in ("utf-8", "latin-1"), as iconv knows it for the others.
  public let name: String
  let form: Form
  /// Whether U+FEFF stands at the beginning of a file: written there, and taken away when read.
  let hasMark: Bool

  private init(_ name: String, _ form: Form, hasMark: Bool = false) {
    self.name = name
    self.form = form
    self.hasMark = hasMark
  }

  /// UTF-8. U+FEFF at the beginning is text as any other.
  public static let utf8 = Self("utf-8", .utf8)
  /// UTF-8 with U+FEFF at the beginning of the file: written there, and left out of what is read. Python's `utf-8-sig`.
  public static let utf8WithMark = Self("utf-8-sig", .utf8, hasMark: true)
  /// UTF-16 with a byte order mark: written at the beginning of the file, and on reading it tells the order. Without one
  /// the order is this machine's. Text is added to a file in the order that its mark tells.
  public static let utf16 = Self("utf-16", .utf16(nil), hasMark: true)
  /// UTF-16, low byte first, without a mark.
  public static let utf16LittleEndian = Self("utf-16-le", .utf16(.little))
  /// UTF-16, high byte first, without a mark.
  public static let utf16BigEndian = Self("utf-16-be", .utf16(.big))
  /// UTF-32 with a byte order mark; see ``utf16``.
  public static let utf32 = Self("utf-32", .utf32(nil), hasMark: true)
  /// UTF-32, low byte first, without a mark.
  public static let utf32LittleEndian = Self("utf-32-le", .utf32(.little))
  /// UTF-32, high byte first, without a mark.
  public static let utf32BigEndian = Self("utf-32-be", .utf32(.big))
  /// Latin-1 (ISO 8859-1): byte 0xNN is U+00NN.
  public static let latin1 = Self("latin-1", .latin1)
  /// ASCII: bytes from 0x80 on are no text.
  public static let ascii = Self("ascii", .ascii)

  private static let builtIn: [Self] = [
    .utf8, .utf8WithMark, .utf16, .utf16LittleEndian, .utf16BigEndian, .utf32, .utf32LittleEndian, .utf32BigEndian,
    .latin1, .ascii,
  ]

  /// The encoding of that name: one of Python's, or of IANA's, or of those that `iconv -l` lists. Upper and lower case,
  /// `-` and `_` make no difference.
  ///
  /// - Throws: `unsupported` for a name that is not known.
  public init(named name: String) throws(TemporaryFileError) {
    let isName = EncodingNames.isName(name)
    if isName, let canonical = EncodingNames.builtIn[EncodingNames.key(name)],
      let found = Self.builtIn.first(where: { $0.name == canonical })
    {
      self = found
      return
    }
    for candidate in isName ? EncodingNames.candidates(for: name) : [] {
      guard let form = Self.iconvForm(candidate) else { continue }
      self.init(candidate, form)
      return
    }
    throw TemporaryFileError(
      .unsupported, operation: "use the text encoding", message: "no encoding is known as '\(name)'")
  }

  /// nil if iconv does not know the name, in both directions.
  private static func iconvForm(_ name: String) -> Form? {
    guard let decoder = IconvConverter(from: name, to: IconvConverter.scalars),
      IconvConverter(from: IconvConverter.scalars, to: name) != nil
    else { return nil }
    if let table = decoder.singleByteTable() { return .table(table) }
    return .iconv(isStateful: !EncodingNames.stateless.contains(name))
  }
}

extension TextEncoding: Hashable, CustomStringConvertible {
  /// The name.
  public var description: String { name }

  /// Encodings are the same if their names are.
  public static func == (left: Self, right: Self) -> Bool { left.name == right.name }

  /// Hashes the name.
  public func hash(into hasher: inout Hasher) { hasher.combine(name) }
}

/// The order of the bytes of a number.
enum ByteOrder: Sendable {
  case little, big

  static var native: Self { 1.littleEndian == 1 ? .little : .big }
}
