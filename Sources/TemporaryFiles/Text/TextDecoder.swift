/// Bytes to text, as UTF-8. It keeps nothing between two calls, but for encodings with a state (``hasState``).
struct TextDecoder {
  /// Stands in a table for a byte that is no character.
  static let unassigned: UInt32 = .max

  let encoding: TextEncoding
  let errors: TextErrorMode
  /// For encodings whose mark tells the order.
  var order = ByteOrder.native
  /// Opened at the first use.
  private var converter: IconvConverter?

  init(_ encoding: TextEncoding, errors: TextErrorMode) {
    self.encoding = encoding
    self.errors = errors
  }

  /// Whether decoding may begin only where this decoder was in its initial state.
  var hasState: Bool { if case .iconv(isStateful: true) = encoding.form { true } else { false } }

  /// Whether the bytes are the UTF-8 of the text, as long as nothing is replaced.
  var isIdentity: Bool { if case .utf8 = encoding.form { true } else { false } }

  /// How many bytes `\r` has; nil if that differs.
  var carriageReturn: [UInt8]? {
    switch encoding.form {
    case .utf8, .latin1, .ascii, .iconv(isStateful: false): [0x0d]
    case .utf16(let order): (order ?? self.order) == .little ? [0x0d, 0] : [0, 0x0d]
    case .utf32(let order): (order ?? self.order) == .little ? [0x0d, 0, 0, 0] : [0, 0, 0, 0x0d]
    case .table(let table): table.firstIndex(of: 0x0d).map { [UInt8($0)] }
    case .iconv: nil
    }
  }

  /// Decodes what it can of `input`.
  ///
  /// - Parameters:
  ///   - isFinal: whether nothing comes after `input`, so that an incomplete character at the end is a fault.
  /// - Returns: how many bytes are decoded; the rest has to come again, with more. It begins with the fault, if there is
  ///   one that `errors` does not forgive.
  mutating func decode(
    _ input: UnsafeBufferPointer<UInt8>, isFinal: Bool, into output: inout UTF8Output
  ) throws(TemporaryFileError) -> (consumed: Int, fault: DecodingFault?) {
    guard let base = input.baseAddress else {
      try finish(isFinal, &output)
      return (0, nil)
    }
    var index = 0
    while true {
      let bad: Int
      switch try run(base, input.count, &index, &output) {
      case .done:
        if index == input.count { try finish(isFinal, &output) }
        return (index, nil)
      case .incomplete:
        guard isFinal else { return (index, nil) }
        bad = input.count - index
      case .malformed(let count): bad = count
      }
      guard output.room > 0 else { return (index, nil) }
      let replaced = errors.replace(UnsafeBufferPointer(rebasing: input[index..<index + bad]), into: &output)
      guard let replaced else { return (index, DecodingFault(offset: index, count: bad)) }
      if replaced == 0 { return (index, nil) }
      index += replaced
    }
  }

  private mutating func run(
    _ input: UnsafePointer<UInt8>, _ count: Int, _ index: inout Int, _ output: inout UTF8Output
  ) throws(TemporaryFileError) -> DecoderStop {
    let keepsEscapes = errors == .surrogateEscape
    switch encoding.form {
    case .utf8: return UTF8Decoding.run(input, count, &index, &output, keepsEscapes)
    case .utf16(let order):
      return (order ?? self.order) == .little
        ? WideDecoding.run16({ UInt16(littleEndian: $0) }, input, count, &index, &output, keepsEscapes)
        : WideDecoding.run16({ UInt16(bigEndian: $0) }, input, count, &index, &output, keepsEscapes)
    case .utf32(let order):
      return WideDecoding.run32((order ?? self.order) == .little, input, count, &index, &output, keepsEscapes)
    case .latin1: return ByteDecoding.runLatin1(input, count, &index, &output)
    case .ascii: return ByteDecoding.runASCII(input, count, &index, &output)
    case .table(let table): return ByteDecoding.runTable(table, input, count, &index, &output, keepsEscapes)
    case .iconv: return try opened().run(input, count, &index, &output, oneByOne: keepsEscapes)
    }
  }

  /// What iconv held back, as the next character might have changed it, comes out.
  private mutating func finish(_ isFinal: Bool, _ output: inout UTF8Output) throws(TemporaryFileError) {
    guard isFinal, hasState else { return }
    try opened().finish(&output)
  }

  /// Goes back to the initial state.
  func reset() { converter?.reset() }

  private mutating func opened() throws(TemporaryFileError) -> IconvConverter {
    if let converter { return converter }
    let opened = try IconvConverter.open(from: encoding.name, to: IconvConverter.scalars)
    converter = opened
    return opened
  }
}

extension TextErrorMode {
  /// Puts something in the place of undecodable bytes.
  ///
  /// - Returns: how many of the bytes that was for; 0 if it does not fit; nil if they must not be replaced.
  func replace(_ bytes: UnsafeBufferPointer<UInt8>, into output: inout UTF8Output) -> Int? {
    switch self {
    case .strict: return nil
    case .ignore: return bytes.count
    case .replace: return output.append(0xfffd) ? bytes.count : 0
    case .backslashReplace:
      guard output.room >= 4 * bytes.count else { return 0 }
      for byte in bytes {
        for digit in [0x5c, 0x78, Self.hexDigit(byte >> 4), Self.hexDigit(byte & 15)] { _ = output.append(digit) }
      }
      return bytes.count
    case .surrogateEscape:
      var count = 0
      for byte in bytes.prefix(4) {
        guard byte >= 0x80 else { break }
        guard output.append(0xef00 | UInt32(byte)) else { return count }
        count += 1
      }
      return count == 0 ? nil : count
    }
  }

  static func hexDigit(_ value: UInt8) -> UInt32 { UInt32(value < 10 ? 0x30 + value : 0x57 + value) }
}
