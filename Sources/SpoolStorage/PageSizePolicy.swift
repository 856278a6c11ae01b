/// Decides from what it took before whether memory that is new to the process is to come in huge pages.
///
/// They come several times as fast as small ones where the kernel has free blocks of that size at hand, and several times as
/// slowly where it has not: it has to move other pages first, or, in a virtual machine that gives unused memory back to its
/// host (free page reporting: whole blocks only), the host has to provide each anew.
struct PageSizePolicy {
  /// Nanoseconds for a slab. Below, nothing else is worth a try.
  private static let fast = 1_000_000
  /// Slabs of small pages until a huge one is tried again: first, and after it was slow each time.
  static let intervals = (first: 32, longest: 512)

  /// Whether the next slab is to have huge pages, if nobody measures what it takes.
  private(set) var prefersHuge = true
  /// Nanoseconds that the latest slab of each kind took; 0 before the first.
  private var latest = (huge: 0, small: 0)
  private var interval = intervals.first
  private var untilTrial = 0

  /// Whether the next slab, whose time will be reported, is to have huge pages.
  mutating func takesHugeSlab() -> Bool {
    if prefersHuge { return true }
    untilTrial -= 1
    return untilTrial <= 0
  }

  /// - Parameter time: what the kernel took for a slab, in nanoseconds of processor time.
  mutating func tookHugeSlab(_ time: Int) {
    latest.huge = time
    if time < Self.fast || (latest.small > 0 && time <= latest.small) {
      prefersHuge = true
      interval = Self.intervals.first
      return
    }
    if !prefersHuge { interval = min(2 * interval, Self.intervals.longest) }
    prefersHuge = false
    untilTrial = interval
  }

  /// - Parameter time: as for `tookHugeSlab`.
  mutating func tookSmallSlab(_ time: Int) {
    latest.small = time
    if time >= latest.huge { prefersHuge = true }
  }
}
