/// Tells when the memory that large messages have taken is to go back: soon after the last of them.
struct LargeMessages {
  /// Bytes; what smaller messages and answers touch may stay.
  private static let minimum = 64 << 10
  /// Milliseconds without a request.
  static let patience: Int32 = 100
  /// Small requests in a row.
  private static let maximumSmall = 256

  /// Whether there is memory to give back.
  private(set) var haveMemory = false
  private var small = 0

  /// Takes a request in.
  ///
  /// - Parameter size: bytes of the request, or of its answer.
  /// - Returns: whether the memory should go back now.
  @inline(__always)
  @discardableResult
  mutating func note(_ size: Int) -> Bool {
    if size > Self.minimum {
      haveMemory = true
      small = 0
      return false
    }
    if !haveMemory { return false }
    small += 1
    return small >= Self.maximumSmall
  }

  /// The memory has gone back.
  mutating func reset() { haveMemory = false }
}
