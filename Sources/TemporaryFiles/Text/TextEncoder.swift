/// Text to bytes. Nothing is kept between two calls: encodings with a state go back to the initial one after each.
struct TextEncoder {
  let encoding: TextEncoding
  let errors: TextErrorMode
  var order = ByteOrder.native
  /// Opened at the first use.
  private var converter: IconvConverter?

  init(_ encoding: TextEncoding, errors: TextErrorMode) {
    self.encoding = encoding
    self.errors = errors
  }

  /// A scalar that has no bytes in the encoding.
  struct Fault: Error {
    var scalar: UInt32
    /// Scalars of the text before it.
    var index: Int
  }

  /// The mark at the beginning of a file.
  var mark: [UInt8] {
    var bytes: [UInt8] = []
    if encoding.hasMark { put(0xfeff, &bytes) }
    return bytes
  }

  /// Appends the bytes of `text`, which is UTF-8.
  mutating func encode(
    _ text: UnsafeBufferPointer<UInt8>, into bytes: inout [UInt8]
  ) throws(TemporaryFileError) -> Fault? {
    let start = bytes.count
    var fault: Fault?
    // U+EF80 to U+EFFF begin with this byte.
    let mayHaveEscapes = errors == .surrogateEscape && text.contains(0xee)
    switch encoding.form {
    case .table, .iconv: fault = try encodeByIconv(text, &bytes)
    case .utf8 where !mayHaveEscapes: bytes.append(contentsOf: text)
    case .utf16(let order) where !mayHaveEscapes: encode16(text, order ?? self.order, &bytes)
    case .utf32(let order) where !mayHaveEscapes: encode32(text, order ?? self.order, &bytes)
    default: fault = encodeBytes(text, &bytes)
    }
    if fault != nil { bytes.removeSubrange(start...) }
    return fault
  }

  private func encodeBytes(_ text: UnsafeBufferPointer<UInt8>, _ bytes: inout [UInt8]) -> Fault? {
    switch encoding.form {
    case .latin1, .ascii:
      guard text.allSatisfy({ $0 < 0x80 }) else { fallthrough }
      bytes.append(contentsOf: text)
      return nil
    default: return encodeEach(text, &bytes)
    }
  }

  /// No scalar has more units in UTF-16 or UTF-32 than it has bytes in UTF-8.
  private func encode16(_ text: UnsafeBufferPointer<UInt8>, _ order: ByteOrder, _ bytes: inout [UInt8]) {
    withUnsafeTemporaryAllocation(of: UInt16.self, capacity: text.count) { units in
      var reader = ScalarReader(text)
      var count = 0
      func put(_ unit: UInt16) {
        units[count] = order == .little ? unit.littleEndian : unit.bigEndian
        count += 1
      }
      while let scalar = reader.next() {
        if scalar >= 0x1_0000 {
          put(UInt16(0xd7c0 + (scalar >> 10)))
          put(UInt16(0xdc00 | scalar & 0x3ff))
        } else {
          put(UInt16(scalar))
        }
      }
      bytes.append(contentsOf: UnsafeRawBufferPointer(units)[..<(2 * count)])
    }
  }

  private func encode32(_ text: UnsafeBufferPointer<UInt8>, _ order: ByteOrder, _ bytes: inout [UInt8]) {
    withUnsafeTemporaryAllocation(of: UInt32.self, capacity: text.count) { units in
      var reader = ScalarReader(text)
      var count = 0
      while let scalar = reader.next() {
        units[count] = order == .little ? scalar.littleEndian : scalar.bigEndian
        count += 1
      }
      bytes.append(contentsOf: UnsafeRawBufferPointer(units)[..<(4 * count)])
    }
  }

  private func encodeEach(_ text: UnsafeBufferPointer<UInt8>, _ bytes: inout [UInt8]) -> Fault? {
    bytes.reserveCapacity(bytes.count + text.count)
    var reader = ScalarReader(text)
    var index = 0
    while let scalar = reader.next() {
      if errors == .surrogateEscape, EscapedByte.isEscape(scalar) {
        bytes.append(UInt8(scalar & 0xff))
      } else if !put(scalar, &bytes) {
        guard let replacement = errors.replacement(for: scalar) else { return Fault(scalar: scalar, index: index) }
        for byte in replacement { put(UInt32(byte), &bytes) }
      }
      index += 1
    }
    return nil
  }

  /// Appends one scalar; false if the encoding, one of those built in, has no bytes for it.
  @discardableResult
  private func put(_ scalar: UInt32, _ bytes: inout [UInt8]) -> Bool {
    switch encoding.form {
    case .utf8: bytes.append(contentsOf: UTF8.encode(Unicode.Scalar(scalar)!)!)
    case .latin1, .ascii:
      if case .ascii = encoding.form, scalar >= 0x80 { return false }
      guard scalar < 0x100 else { return false }
      bytes.append(UInt8(scalar))
    case .utf16(let order):
      for unit in UTF16.encode(Unicode.Scalar(scalar)!)! { put(unit, order, &bytes) }
    case .utf32(let order): put(scalar, order, &bytes)
    case .table, .iconv: return false
    }
    return true
  }

  private func put<Unit: FixedWidthInteger>(_ unit: Unit, _ order: ByteOrder?, _ bytes: inout [UInt8]) {
    let ordered = (order ?? self.order) == .little ? unit.littleEndian : unit.bigEndian
    withUnsafeBytes(of: ordered) { bytes.append(contentsOf: $0) }
  }
}

// MARK: - By iconv

extension TextEncoder {
  private mutating func encodeByIconv(
    _ text: UnsafeBufferPointer<UInt8>, _ bytes: inout [UInt8]
  ) throws(TemporaryFileError) -> Fault? {
    let converter = try opened()
    var scalars: [UInt32] = []
    scalars.reserveCapacity(text.count)
    var reader = ScalarReader(text)
    while let scalar = reader.next() { scalars.append(scalar) }
    defer { converter.reset() }

    var index = 0
    while index < scalars.count {
      // What must not be left to iconv: bytes to put back, and tags, which it drops without a word.
      let isEscape = { [errors] scalar in errors == .surrogateEscape && EscapedByte.isEscape(scalar) }
      let end = scalars[index...].firstIndex { isEscape($0) || $0 >> 7 == 0xe_0000 >> 7 } ?? scalars.count
      index += converter.append(scalars[index..<end], to: &bytes)
      guard index < scalars.count else { break }
      let scalar = scalars[index]
      if isEscape(scalar) {
        converter.appendReset(to: &bytes)
        bytes.append(UInt8(scalar & 0xff))
      } else if index < end || !converter.appendTag(scalar, to: &bytes) {
        guard let replacement = errors.replacement(for: scalar) else { return Fault(scalar: scalar, index: index) }
        _ = converter.append(replacement.map { UInt32($0) }[...], to: &bytes)
      }
      index += 1
    }
    converter.appendReset(to: &bytes)
    return nil
  }
}

extension TextEncoder {
  private mutating func opened() throws(TemporaryFileError) -> IconvConverter {
    if let converter { return converter }
    let opened = try IconvConverter.open(from: IconvConverter.scalars, to: encoding.name)
    converter = opened
    return opened
  }
}

extension IconvConverter {
  /// Encodes scalars; returns how many, fewer than all if one has no bytes.
  fileprivate func append(_ scalars: ArraySlice<UInt32>, to bytes: inout [UInt8]) -> Int {
    scalars.withUnsafeBytes { source in
      var source = source
      withUnsafeTemporaryAllocation(byteCount: 8192, alignment: 1) { scratch in
        while !source.isEmpty {
          var target = scratch
          let stop = convert(&source, &target)
          bytes.append(contentsOf: scratch[..<(scratch.count - target.count)])
          if stop != .noRoom { break }
        }
      }
      return scalars.count - source.count / 4
    }
  }

  fileprivate func appendReset(to bytes: inout [UInt8]) {
    withUnsafeTemporaryAllocation(byteCount: 64, alignment: 1) { scratch in
      bytes.append(contentsOf: scratch[..<finish(into: scratch)])
    }
  }

  /// Encodes U+E0000 to U+E007F; false if that gives nothing.
  fileprivate func appendTag(_ scalar: UInt32, to bytes: inout [UInt8]) -> Bool {
    appendReset(to: &bytes)
    let before = bytes.count
    let used = append([scalar], to: &bytes)
    return used == 1 && bytes.count > before
  }
}

extension TextErrorMode {
  /// What is written in place of a scalar that has no bytes; nil if that is an error.
  fileprivate func replacement(for scalar: UInt32) -> [UInt8]? {
    switch self {
    case .strict, .surrogateEscape: return nil
    case .ignore: return []
    case .replace: return [UInt8(ascii: "?")]
    case .backslashReplace:
      let (letter, digits) = scalar < 0x100 ? ("x", 2) : scalar < 0x1_0000 ? ("u", 4) : ("U", 8)
      let hex = String(scalar, radix: 16)
      return Array("\\\(letter)\(String(repeating: "0", count: digits - hex.count))\(hex)".utf8)
    }
  }
}

/// The scalars of UTF-8 that is known to be well-formed.
struct ScalarReader {
  private let text: UnsafeBufferPointer<UInt8>
  private var index = 0

  init(_ text: UnsafeBufferPointer<UInt8>) { self.text = text }

  @inline(__always)
  mutating func next() -> UInt32? {
    guard index < text.count else { return nil }
    let first = UInt32(text[index])
    index += 1
    if first < 0x80 { return first }
    if first < 0xe0 { return (first & 0x1f) << 6 | trailing() }
    if first < 0xf0 { return (first & 0x0f) << 12 | trailing() << 6 | trailing() }
    return (first & 0x07) << 18 | trailing() << 12 | trailing() << 6 | trailing()
  }

  @inline(__always)
  private mutating func trailing() -> UInt32 {
    defer { index += 1 }
    return UInt32(text[index] & 0x3f)
  }
}
