/// Decodes UTF-8. What is not well-formed is told in maximal parts of characters, as Unicode recommends and Python does.
enum UTF8Decoding {
  static func run(
    _ input: UnsafePointer<UInt8>, _ count: Int, _ index: inout Int, _ output: inout UTF8Output, _ keepsEscapes: Bool
  ) -> DecoderStop {
    while index < count, output.room > 0 {
      index += output.appendASCII(input + index, count - index)
      while index < count, input[index] >= 0x80 {
        let (length, isWhole) = sequence(input + index, count - index)
        guard isWhole else { return length == 0 ? .incomplete : .malformed(length) }
        if keepsEscapes, input[index] == 0xee, input[index + 1] >= 0xbe { return .malformed(length) }
        guard output.append(input + index, length) else { return .done }
        index += length
      }
    }
    return .done
  }

  /// The length of the sequence that `input` begins with, or of what is malformed; 0 if it ends too early.
  @inline(__always)
  private static func sequence(_ input: UnsafePointer<UInt8>, _ available: Int) -> (length: Int, isWhole: Bool) {
    let first = input[0]
    let length: Int
    // What the second byte may be: table 3-7 of the Unicode standard.
    var second: ClosedRange<UInt8> = 0x80...0xbf
    switch first {
    case 0xc2...0xdf: length = 2
    case 0xe0...0xef:
      length = 3
      if first == 0xe0 { second = 0xa0...0xbf } else if first == 0xed { second = 0x80...0x9f }
    case 0xf0...0xf4:
      length = 4
      if first == 0xf0 { second = 0x90...0xbf } else if first == 0xf4 { second = 0x80...0x8f }
    default: return (1, false)
    }
    guard available > 1 else { return (0, false) }
    guard second.contains(input[1]) else { return (1, false) }
    var valid = 2
    while valid < length {
      guard valid < available else { return (0, false) }
      guard input[valid] & 0xc0 == 0x80 else { return (valid, false) }
      valid += 1
    }
    return (length, true)
  }
}

/// Decodes UTF-16 and UTF-32.
enum WideDecoding {
  @inline(__always)
  static func run16(
    _ order: (UInt16) -> UInt16, _ input: UnsafePointer<UInt8>, _ count: Int, _ index: inout Int,
    _ output: inout UTF8Output, _ keepsEscapes: Bool
  ) -> DecoderStop {
    @inline(__always) func unit(_ index: Int) -> UInt32 {
      UInt32(order(UnsafeRawPointer(input + index).loadUnaligned(as: UInt16.self)))
    }
    while index < count, output.room > 0 {
      guard count - index >= 2 else { return .incomplete }
      var scalar = unit(index)
      var length = 2
      if scalar >> 11 == 0xd800 >> 11 {
        guard scalar < 0xdc00 else { return .malformed(2) }
        guard count - index >= 4 else { return .incomplete }
        let low = unit(index + 2)
        guard low >> 10 == 0xdc00 >> 10 else { return .malformed(2) }
        scalar = 0x1_0000 + (scalar & 0x3ff) << 10 + low & 0x3ff
        length = 4
      } else if keepsEscapes, EscapedByte.isEscape(scalar) {
        return .malformed(2)
      }
      guard output.append(scalar) else { return .done }
      index += length
    }
    return .done
  }

  static func run32(
    _ isLittle: Bool, _ input: UnsafePointer<UInt8>, _ count: Int, _ index: inout Int, _ output: inout UTF8Output,
    _ keepsEscapes: Bool
  ) -> DecoderStop {
    while index < count, output.room > 0 {
      guard count - index >= 4 else { return .incomplete }
      let unit = UnsafeRawPointer(input + index).loadUnaligned(as: UInt32.self)
      let scalar = isLittle ? UInt32(littleEndian: unit) : UInt32(bigEndian: unit)
      guard scalar < 0x11_0000, scalar >> 11 != 0xd800 >> 11, !(keepsEscapes && EscapedByte.isEscape(scalar)) else {
        return .malformed(4)
      }
      guard output.append(scalar) else { return .done }
      index += 4
    }
    return .done
  }
}

/// Decodes encodings of one byte a character.
enum ByteDecoding {
  static func runLatin1(
    _ input: UnsafePointer<UInt8>, _ count: Int, _ index: inout Int, _ output: inout UTF8Output
  ) -> DecoderStop {
    while index < count, output.room > 0 {
      index += output.appendASCII(input + index, count - index)
      while index < count, input[index] >= 0x80 {
        guard output.append(UInt32(input[index])) else { return .done }
        index += 1
      }
    }
    return .done
  }

  static func runASCII(
    _ input: UnsafePointer<UInt8>, _ count: Int, _ index: inout Int, _ output: inout UTF8Output
  ) -> DecoderStop {
    index += output.appendASCII(input + index, count - index)
    return index == count || output.room == 0 ? .done : .malformed(1)
  }

  static func runTable(
    _ table: [UInt32], _ input: UnsafePointer<UInt8>, _ count: Int, _ index: inout Int, _ output: inout UTF8Output,
    _ keepsEscapes: Bool
  ) -> DecoderStop {
    table.withUnsafeBufferPointer { table in
      while index < count, output.room > 0 {
        let scalar = table[Int(input[index])]
        guard scalar != TextDecoder.unassigned, !(keepsEscapes && EscapedByte.isEscape(scalar)) else {
          return .malformed(1)
        }
        guard output.append(scalar) else { return .done }
        index += 1
      }
      return .done
    }
  }
}
