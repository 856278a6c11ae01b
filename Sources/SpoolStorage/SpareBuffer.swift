internal import Glibc
internal import Synchronization

/// The buffer of a small file that has gone, kept for the next: who makes one small file after another gets the same memory
/// without a call of malloc(3) and free(3), which takes as long as writing and reading a KiB.
///
/// It is in no file's budget. The owner calls `destroy()`.
struct SpareBuffer: Sendable {
  /// Bytes; more is not worth keeping memory for.
  static let largest = Layout.page

  private static let capacityShift: UInt = 48

  /// Address and, above it, capacity; 0 without a buffer.
  private let cell = SharedCell<UInt>(0)

  func destroy() {
    free(Self.address(in: cell.value.pointee.load(ordering: .acquiring)))
    cell.destroy()
  }

  /// The buffer, now the caller's, if it is of that capacity.
  @inline(__always)
  func take(_ capacity: Int) -> UnsafeMutableRawPointer? {
    let word = cell.value.pointee.load(ordering: .relaxed)
    guard word >> Self.capacityShift == UInt(bitPattern: capacity), word != 0,
      cell.value.pointee.compareExchange(expected: word, desired: 0, ordering: .acquiring).exchanged
    else { return nil }
    return Self.address(in: word)
  }

  /// Frees what malloc(3) gave, or keeps it and frees what was kept.
  @inline(__always)
  func keepOrFree(_ memory: UnsafeMutableRawPointer, _ capacity: Int) {
    let word = cell.value.pointee.load(ordering: .relaxed)
    // There is one of that size: exchanging it for another would gain nothing. An address with tags has no room for the size.
    if capacity <= Self.largest, word >> Self.capacityShift != UInt(bitPattern: capacity),
      UInt(bitPattern: memory) >> Self.capacityShift == 0
    {
      let kept = UInt(bitPattern: capacity) << Self.capacityShift | UInt(bitPattern: memory)
      let old = cell.value.pointee.exchange(kept, ordering: .acquiringAndReleasing)
      if old != 0 { free(Self.address(in: old)) }
    } else {
      free(memory)
    }
  }

  @inline(__always)
  private static func address(in word: UInt) -> UnsafeMutableRawPointer? {
    UnsafeMutableRawPointer(bitPattern: word & (1 << capacityShift - 1))
  }
}
