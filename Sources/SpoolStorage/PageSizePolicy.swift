/// Decides from what it took before whether memory that is new to the process is to come in huge pages.
///
/// They come several times as fast as small ones where the kernel has free blocks of that size at hand, and several times as
/// slowly where it has not: it has to move other pages first, or, in a virtual machine that gives unused memory back to its
/// host (free page reporting: whole blocks only), the host has to provide each anew.
struct PageSizePolicy {
  /// Nanoseconds for a slab. Below, nothing else is worth a try.
  private static let fast = 1_000_000
  /// So many slow ones in a row are no coincidence.
  private static let convincing = 2
  /// Slabs until the other kind is tried again: at first, and at most, after it was slower each time.
  private static let intervals = (first: 32, longest: 512)

  /// Whether the next slab is to have huge pages, if nobody measures what it takes.
  private(set) var prefersHuge = true
  /// Nanoseconds that the latest slab took, of huge pages and of small ones; 0 before the first.
  private(set) var latest = (huge: 0, small: 0)
  private var interval = intervals.first
  /// Slabs of the preferred kind, slow ones in a row if they are huge, before the other is tried.
  private var untilTrial = convincing

  /// Whether the next slab, whose time will be reported, is to have huge pages.
  var takesHugeSlab: Bool { prefersHuge != (untilTrial == 0) }

  /// - Parameter time: what the kernel took for a slab, in nanoseconds of processor time.
  mutating func tookSlab(isHuge: Bool, _ time: Int) {
    if isHuge { latest.huge = time } else { latest.small = time }
    if isHuge != prefersHuge {
      takeTrial(isFaster: time < (isHuge ? latest.small : latest.huge))
    } else if isHuge, time < Self.fast {
      interval = Self.intervals.first
      untilTrial = Self.convincing
    } else {
      untilTrial = max(0, untilTrial - 1)
    }
  }

  private mutating func takeTrial(isFaster: Bool) {
    if isFaster {
      prefersHuge.toggle()
      interval = Self.intervals.first
    } else {
      interval = min(2 * interval, Self.intervals.longest)
    }
    untilTrial = interval
  }
}
