internal import Glibc
internal import SystemPackage

/// A conversion of iconv(3), between some encoding and scalars.
///
/// Unchecked: its state is not guarded. A stream owns it, and uses it while it has exclusive access to itself.
final class IconvConverter: @unchecked Sendable {
  /// iconv's name for an array of scalars in this machine's order. It needs one step from any encoding, so that iconv
  /// knows exactly how far it came when there is no more room.
  static let scalars = "WCHAR_T"

  private let descriptor: iconv_t

  /// nil if iconv does not know one of the names; `errno` says why.
  init?(from source: String, to target: String) {
    guard let descriptor = iconv_open(target, source), descriptor != iconv_t(bitPattern: -1) else { return nil }
    self.descriptor = descriptor
  }

  static func open(from source: String, to target: String) throws(TemporaryFileError) -> IconvConverter {
    if let converter = IconvConverter(from: source, to: target) { return converter }
    let name = source == scalars ? target : source
    throw TemporaryFileError(errno: Errno(rawValue: errno), operation: "open iconv for \(name)")
  }

  deinit { iconv_close(descriptor) }

  /// Goes back to the initial state.
  func reset() { _ = iconv(descriptor, nil, nil, nil, nil) }

  enum Stop { case done, noRoom, incomplete, malformed }

  /// Converts as much as there is room for; moves both buffers on by what has been used.
  func convert(_ input: inout UnsafeRawBufferPointer, _ output: inout UnsafeMutableRawBufferPointer) -> Stop {
    var source = UnsafeMutablePointer(mutating: input.baseAddress?.assumingMemoryBound(to: CChar.self))
    var target = output.baseAddress?.assumingMemoryBound(to: CChar.self)
    var sourceLeft = input.count
    var targetLeft = output.count
    let result = iconv(descriptor, &source, &sourceLeft, &target, &targetLeft)
    let reason = errno
    input = UnsafeRawBufferPointer(rebasing: input[(input.count - sourceLeft)...])
    output = UnsafeMutableRawBufferPointer(rebasing: output[(output.count - targetLeft)...])
    guard result == -1 else { return .done }
    switch reason {
    case E2BIG: return .noRoom
    case EINVAL: return .incomplete
    default: return .malformed
    }
  }

  /// Puts out what the state still holds, and goes back to the initial one; returns the bytes of it.
  func finish(into output: UnsafeMutableRawBufferPointer) -> Int {
    var target = output.baseAddress?.assumingMemoryBound(to: CChar.self)
    var left = output.count
    _ = iconv(descriptor, nil, nil, &target, &left)
    return output.count - left
  }
}

// MARK: - Decoding

extension IconvConverter {
  /// Scalars that are converted at a time.
  private static let batch = 1024

  /// - Parameter oneByOne: whether scalars that stand for escaped bytes are malformed; then it must be known which bytes
  ///   they come from.
  func run(
    _ input: UnsafePointer<UInt8>, _ count: Int, _ index: inout Int, _ output: inout UTF8Output, oneByOne: Bool
  ) -> DecoderStop {
    withUnsafeTemporaryAllocation(of: UInt32.self, capacity: Self.batch) { scratch in
      // Some bytes give several scalars at once.
      var least = 1
      while index < count, output.room > 0 {
        // What iconv has consumed cannot be taken back if there is a state.
        if !output.isExact, output.room < 4 * least { return .done }
        let wanted = oneByOne ? least : max(least, min(Self.batch, output.room / 4))
        var source = UnsafeRawBufferPointer(start: input + index, count: count - index)
        var target = UnsafeMutableRawBufferPointer(rebasing: UnsafeMutableRawBufferPointer(scratch)[..<(4 * wanted)])
        let stop = convert(&source, &target)
        let used = count - index - source.count
        let scalars = scratch[..<(wanted - target.count / 4)]
        if oneByOne, used > 0, let only = scalars.first, scalars.count == 1, EscapedByte.isEscape(only) {
          return .malformed(used)
        }
        let before = output.count
        guard append(scalars, to: &output) else {
          output.shrink(to: before)
          return .done
        }
        index += used
        switch stop {
        case .done: break
        case .noRoom: least = used == 0 && scalars.isEmpty ? min(least * 2, Self.batch) : 1
        case .incomplete: return .incomplete
        case .malformed: return .malformed(1)
        }
      }
      return .done
    }
  }

  func finish(_ output: inout UTF8Output) {
    withUnsafeTemporaryAllocation(of: UInt32.self, capacity: 16) { scratch in
      let bytes = finish(into: UnsafeMutableRawBufferPointer(scratch))
      _ = append(scratch[..<(bytes / 4)], to: &output)
    }
  }

  private func append(_ scalars: Slice<UnsafeMutableBufferPointer<UInt32>>, to output: inout UTF8Output) -> Bool {
    for scalar in scalars {
      guard output.append(Unicode.Scalar(scalar) == nil ? 0xfffd : scalar) else { return false }
    }
    return true
  }

  /// What each byte stands for, if the encoding has one byte for each character and no state; else nil.
  func singleByteTable() -> [UInt32]? {
    var table = [UInt32](repeating: TextDecoder.unassigned, count: 256)
    for byte in UInt8.min...UInt8.max {
      var scalars: (UInt32, UInt32) = (0, 0)
      let (stop, left) = withUnsafeBytes(of: byte) { source in
        withUnsafeMutableBytes(of: &scalars) { target in
          var source = source
          var target = target
          reset()
          return (convert(&source, &target), target.count)
        }
      }
      switch (stop, left) {
      case (.done, 4): table[Int(byte)] = scalars.0
      case (.malformed, 8): break
      default: return nil
      }
    }
    reset()
    return table
  }
}
