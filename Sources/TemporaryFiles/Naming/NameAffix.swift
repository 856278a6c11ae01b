public import SystemPackage

/// The beginning or the end of a temporary file's name: bytes, which need not be UTF-8.
///
/// A string literal is one. A slash or a NUL in it is refused by whatever makes the name.
public struct NameAffix: Sendable, Hashable, ExpressibleByStringInterpolation, CustomStringConvertible {
  /// The bytes, without a terminator.
  public let bytes: [UInt8]

  /// The bytes of a string's UTF-8.
  public init(_ string: some StringProtocol) { bytes = Array(string.utf8) }

  /// Any bytes.
  public init(bytes: some Sequence<UInt8>) { self.bytes = Array(bytes) }

  /// The bytes of a path's component.
  public init(_ component: FilePath.Component) { bytes = component.bytes }

  /// The bytes of the literal's UTF-8.
  public init(stringLiteral value: String) { bytes = Array(value.utf8) }

  /// The text, repaired where it is no UTF-8.
  public var description: String { String(decoding: bytes, as: UTF8.self) }

  /// No bytes.
  static let empty = NameAffix(bytes: EmptyCollection())
}

extension FilePath.Component {
  var bytes: [UInt8] {
    withPlatformString { pointer in
      Array(UnsafeBufferPointer(start: pointer, count: count(of: pointer)).lazy.map { UInt8(bitPattern: $0) })
    }
  }

  private func count(of terminated: UnsafePointer<CInterop.PlatformChar>) -> Int {
    var end = terminated
    while end.pointee != 0 { end += 1 }
    return end - terminated
  }
}
