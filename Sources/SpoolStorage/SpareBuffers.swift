internal import Glibc
internal import Synchronization

/// The buffers of small files that have gone, kept for the next: who makes one small file after another gets the same memory
/// without calls of malloc(3) and free(3), which take as long as writing and reading a KiB. Several, as a mount's files go a
/// few at a time, when the kernel says so, and on another thread than the one that makes them.
///
/// They are in no file's budget. The owner calls `destroy()`.
struct SpareBuffers: Sendable {
  /// Bytes; more is not worth keeping memory for.
  static let largest = Layout.page
  /// Two cache lines of places.
  static let count = 16

  private static let capacityShift: UInt = 48

  /// In each place an address and, above it, the capacity; 0 without a buffer.
  private let places = SharedCells<UInt>(0, count: count)

  func destroy() {
    for place in 0..<Self.count { free(Self.address(in: places[place].pointee.load(ordering: .acquiring))) }
    places.destroy()
  }

  /// A buffer of that capacity, now the caller's, if there is one.
  @inline(__always)
  func take(_ capacity: Int) -> UnsafeMutableRawPointer? {
    if capacity > Self.largest { return nil }
    for place in 0..<Self.count {
      let word = places[place].pointee.load(ordering: .relaxed)
      if word >> Self.capacityShift == UInt(bitPattern: capacity), word != 0,
        places[place].pointee.compareExchange(expected: word, desired: 0, ordering: .acquiring).exchanged
      {
        return Self.address(in: word)
      }
    }
    return nil
  }

  /// Frees what malloc(3) gave, or keeps it.
  @inline(__always)
  func keepOrFree(_ memory: UnsafeMutableRawPointer, _ capacity: Int) {
    // An address with tags has no room for the size.
    if capacity <= Self.largest, UInt(bitPattern: memory) >> Self.capacityShift == 0 {
      keep(UInt(bitPattern: capacity) << Self.capacityShift | UInt(bitPattern: memory))
    } else {
      free(memory)
    }
  }

  @inline(__always)
  private func keep(_ new: UInt) {
    for place in 0..<Self.count where places[place].pointee.load(ordering: .relaxed) == 0 {
      if places[place].pointee.compareExchange(expected: 0, desired: new, ordering: .releasing).exchanged { return }
    }
    replaceOne(by: new)
  }

  /// Where all places are taken: a size that was freed just now is more likely to be asked for than another.
  @inline(never)
  private func replaceOne(by new: UInt) {
    // Any will do, but not always the same, however far apart malloc(3) puts them: all of them get the size that is used now.
    let place = places[Int((new &* 0x9E37_79B9_7F4A_7C15) >> 32) % Self.count]
    if place.pointee.load(ordering: .relaxed) >> Self.capacityShift == new >> Self.capacityShift {
      free(Self.address(in: new))
    } else {
      free(Self.address(in: place.pointee.exchange(new, ordering: .acquiringAndReleasing)))
    }
  }

  @inline(__always)
  private static func address(in word: UInt) -> UnsafeMutableRawPointer? {
    UnsafeMutableRawPointer(bitPattern: word & (1 << capacityShift - 1))
  }
}
