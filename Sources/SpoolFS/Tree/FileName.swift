internal import Glibc

/// One component of a path, as bytes.
///
/// Never a `String`: Swift compares strings by canonical equivalence, so two different names could collide, and a name
/// that is not UTF-8 would be changed. One allocation holds the length and the bytes.
final class FileName: ManagedBuffer<Int, UInt8> {
  /// tmpfs's and the kernel's limit (NAME_MAX), in bytes.
  static let maximumLength = 255

  /// A copy of `bytes`.
  static func make(_ bytes: UnsafeRawBufferPointer) -> FileName {
    let buffer = create(minimumCapacity: bytes.count) { _ in bytes.count }
    let name = unsafeDowncast(buffer, to: FileName.self)
    name.withUnsafeMutablePointers { count, storage in
      guard let source = bytes.baseAddress else { return }
      UnsafeMutableRawPointer(storage).copyMemory(from: source, byteCount: count.pointee)
    }
    return name
  }

  static func make(_ text: StaticString) -> FileName {
    make(UnsafeRawBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
  }

  /// The bytes, valid while `body` runs.
  func withBytes<Result, Failure: Error>(
    _ body: (UnsafeRawBufferPointer) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    try withUnsafeMutablePointers { count, storage throws(Failure) in
      try body(UnsafeRawBufferPointer(start: storage, count: count.pointee))
    }
  }

  var bytes: [UInt8] { withBytes { Array($0) } }

  func equals(_ other: UnsafeRawBufferPointer) -> Bool {
    withBytes { $0.equals(other) }
  }
}

extension UnsafeRawBufferPointer {
  @inline(__always)
  func equals(_ other: UnsafeRawBufferPointer) -> Bool {
    guard count == other.count else { return false }
    guard let own = baseAddress, let theirs = other.baseAddress else { return true }
    return memcmp(own, theirs, count) == 0
  }

  /// Whether these bytes are the ASCII text `text`.
  @inline(__always)
  func equals(_ text: StaticString) -> Bool {
    equals(UnsafeRawBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
  }
}
