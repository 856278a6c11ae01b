/// Where decoders put text, as UTF-8, up to a limit.
struct UTF8Output {
  let base: UnsafeMutablePointer<UInt8>
  private(set) var count: Int
  let limit: Int
  /// Whether to come as near to the limit as can be. Otherwise a decoder may stop where the next character might not fit.
  let isExact: Bool

  init(_ base: UnsafeMutablePointer<UInt8>, count: Int = 0, limit: Int, isExact: Bool = false) {
    self.base = base
    self.count = count
    self.limit = limit
    self.isExact = isExact
  }

  var room: Int { limit - count }

  /// Appends the ASCII that `input` begins with; returns how much that was.
  @inline(__always)
  mutating func appendASCII(_ input: UnsafePointer<UInt8>, _ available: Int) -> Int {
    let target = base + count
    let end = min(available, room)
    var index = 0
    while end - index >= 8 {
      let word = UnsafeRawPointer(input + index).loadUnaligned(as: UInt64.self)
      if word & 0x8080_8080_8080_8080 != 0 { break }
      UnsafeMutableRawPointer(target + index).storeBytes(of: word, as: UInt64.self)
      index += 8
    }
    while index < end, input[index] < 0x80 {
      target[index] = input[index]
      index += 1
    }
    count += index
    return index
  }

  /// Appends bytes that are UTF-8; false if they do not fit.
  @inline(__always)
  mutating func append(_ bytes: UnsafePointer<UInt8>, _ length: Int) -> Bool {
    guard length <= room else { return false }
    for index in 0..<length { base[count + index] = bytes[index] }
    count += length
    return true
  }

  /// Appends a scalar, which is not a surrogate; false if it does not fit.
  @inline(__always)
  mutating func append(_ scalar: UInt32) -> Bool {
    let length = scalar < 0x80 ? 1 : scalar < 0x800 ? 2 : scalar < 0x1_0000 ? 3 : 4
    guard length <= room else { return false }
    let target = base + count
    switch length {
    case 1: target[0] = UInt8(scalar)
    case 2:
      target[0] = UInt8(0xc0 | scalar >> 6)
      target[1] = UInt8(0x80 | scalar & 0x3f)
    case 3:
      target[0] = UInt8(0xe0 | scalar >> 12)
      target[1] = UInt8(0x80 | scalar >> 6 & 0x3f)
      target[2] = UInt8(0x80 | scalar & 0x3f)
    default:
      target[0] = UInt8(0xf0 | scalar >> 18)
      target[1] = UInt8(0x80 | scalar >> 12 & 0x3f)
      target[2] = UInt8(0x80 | scalar >> 6 & 0x3f)
      target[3] = UInt8(0x80 | scalar & 0x3f)
    }
    count += length
    return true
  }

  /// Takes back what has been appended since `count`.
  mutating func shrink(to count: Int) { self.count = count }
}

/// The scalars that stand for undecodable bytes under `surrogateEscape`.
enum EscapedByte {
  static let scalars: ClosedRange<UInt32> = 0xef80...0xefff

  @inline(__always)
  static func isEscape(_ scalar: UInt32) -> Bool { scalar >> 7 == 0xef80 >> 7 }
}

/// What a text decoder found that it cannot decode.
struct DecodingFault: Equatable {
  /// Bytes from the beginning of the input.
  var offset: Int
  var count: Int
}

/// Why a run of decoding ended.
enum DecoderStop {
  /// All input is decoded, or there is no more room.
  case done
  /// The rest of the input, so many bytes, begins a character and does not end it.
  case incomplete
  /// So many bytes are no character.
  case malformed(Int)
}
