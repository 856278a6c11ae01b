internal import Synchronization

/// A limit that many threads draw on: reserve first, then use, then release exactly what was reserved.
struct Quota: ~Copyable, Sendable {
  let limit: Int64
  private let usedAmount = Atomic<Int64>(0)

  init(limit: Int64) { self.limit = limit }

  var used: Int64 { usedAmount.load(ordering: .relaxed) }
  var available: Int64 { limit - used }

  /// Whether `reserve` can say no.
  var isLimited: Bool { limit < .max >> Layout.pageShift }

  /// Takes `amount` if that stays within the limit. Nothing is taken otherwise.
  @inline(__always)
  borrowing func reserve(_ amount: Int64) -> Bool {
    if amount == 0 { return true }
    var seen = usedAmount.load(ordering: .relaxed)
    while true {
      guard amount <= limit - seen else { return false }
      let (exchanged, original) = usedAmount.weakCompareExchange(
        expected: seen, desired: seen + amount, ordering: .relaxed)
      if exchanged { return true }
      seen = original
    }
  }

  @inline(__always)
  borrowing func release(_ amount: Int64) {
    if amount == 0 { return }
    let left = usedAmount.subtract(amount, ordering: .relaxed).newValue
    assert(left >= 0, "released more than was reserved")
  }

  /// Takes or releases what has been used already, past the limit if need be.
  borrowing func adjust(by amount: Int64) {
    if amount < 0 { release(-amount) } else { usedAmount.add(amount, ordering: .relaxed) }
  }
}
