internal import Synchronization

/// Atomic values that many threads change, for an owner that calls `destroy()`.
///
/// They are not inside of their owner but behind a pointer: files change such values all the time, and in the owner's own
/// storage each change would retain the owner.
struct SharedCells<Value: AtomicRepresentable>: @unchecked Sendable {  // the pointer never changes
  private let first: UnsafeMutablePointer<Atomic<Value>>
  private let count: Int

  init(_ initial: Value, count: Int = 1) {
    // Others in their cache lines would slow them down.
    let cacheLine = 64
    let size = (count * MemoryLayout<Atomic<Value>>.stride + cacheLine - 1) / cacheLine * cacheLine
    let memory = UnsafeMutableRawPointer.allocate(byteCount: size, alignment: cacheLine)
    first = memory.bindMemory(to: Atomic<Value>.self, capacity: count)
    for number in 0..<count { (first + number).initialize(to: Atomic(initial)) }
    self.count = count
  }

  func destroy() {
    first.deinitialize(count: count)
    UnsafeMutableRawPointer(first).deallocate()
  }

  @inline(__always)
  subscript(_ number: Int) -> UnsafeMutablePointer<Atomic<Value>> { first + number }
}

/// A number that many threads change. The owner calls `destroy()`.
struct SharedNumber: Sendable {
  private let cells = SharedCells<Int64>(0)

  func destroy() { cells.destroy() }

  @inline(__always)
  var value: Int64 { cells[0].pointee.load(ordering: .relaxed) }

  /// Returns the sum.
  @inline(__always)
  @discardableResult
  func add(_ amount: Int64) -> Int64 { cells[0].pointee.wrappingAdd(amount, ordering: .relaxed).newValue }

  /// Changes `old`, which becomes what was there, to `new` if it is there.
  @inline(__always)
  func change(_ old: inout Int64, to new: Int64) -> Bool {
    let (exchanged, original) = cells[0].pointee.weakCompareExchange(expected: old, desired: new, ordering: .relaxed)
    old = original
    return exchanged
  }

  /// Not atomic with what other threads do between reading the number and this: for hints.
  @inline(__always)
  func set(_ value: Int64) { cells[0].pointee.store(value, ordering: .relaxed) }
}

/// A limit that many threads draw on: reserve first, then use, then release exactly what was reserved. The owner calls
/// `destroy()`.
struct Quota: Sendable {
  let limit: Int64
  private let number = SharedNumber()

  init(limit: Int64) { self.limit = limit }

  func destroy() { number.destroy() }

  var used: Int64 { number.value }
  var available: Int64 { limit - used }

  /// Whether `reserve` can say no.
  var isLimited: Bool { limit < .max >> Layout.pageShift }

  /// Takes `amount` if that stays within the limit. Nothing is taken otherwise.
  @inline(__always)
  func reserve(_ amount: Int64) -> Bool { reserve(amount, within: limit) }

  /// Takes `amount` if that stays within a limit of the caller's. Nothing is taken otherwise.
  @inline(__always)
  func reserve(_ amount: Int64, within limit: Int64) -> Bool {
    if amount == 0 { return true }
    var seen = used
    while true {
      guard amount <= limit &- seen else { return false }
      if number.change(&seen, to: seen &+ amount) { return true }
    }
  }

  @inline(__always)
  func release(_ amount: Int64) {
    if amount == 0 { return }
    let left = number.add(-amount)
    assert(left >= 0, "released more than was reserved")
  }

  /// Takes or releases what has been used already, past the limit if need be.
  func adjust(by amount: Int64) { number.add(amount) }
}
