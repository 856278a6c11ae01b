// Locks of four bytes that live inside the objects they protect.
//
// Why not `Synchronization.Mutex`: on Linux it is a priority-inheritance futex, slow when contended and confused by
// fork; and there is no reader-writer lock to go with it. pthread locks need 40-56 bytes at a fixed address, which for
// a million small files is a separate allocation each. These are plain futexes on `Atomic`, which ThreadSanitizer sees.
//
// Debug builds check the order in which they are taken (`LockOrder.swift`), for which a lock has its class beside it.

internal import CSpoolSystem
internal import Synchronization

/// A mutual-exclusion lock (not recursive, not fair).
package struct Lock: ~Copyable, Sendable {
  /// 0: free, 1: held, 2: held and somebody may sleep on it.
  private let state = Atomic<UInt32>(0)

  #if DEBUG
    private let lockClass: LockClass
    package init(file: StaticString = #fileID, line: UInt = #line) { lockClass = LockClass(file: file, line: line) }
  #else
    package init() {}
  #endif

  @inline(__always)
  package borrowing func lock() {
    #if DEBUG
      lockClass.willLock(state.address)
    #endif
    if !takeIfFree() { lockSlowly() }
  }

  @inline(__always)
  package borrowing func tryLock() -> Bool {
    guard takeIfFree() else { return false }
    #if DEBUG
      lockClass.didLock(state.address)
    #endif
    return true
  }

  @inline(__always)
  private borrowing func takeIfFree() -> Bool {
    state.compareExchange(expected: 0, desired: 1, ordering: .acquiring).exchanged
  }

  @inline(__always)
  package borrowing func unlock() {
    #if DEBUG
      lockClass.willUnlock(state.address)
    #endif
    if state.exchange(0, ordering: .releasing) == 2 { state.wake(1) }
  }

  /// Whether nobody holds it. What was done with it held is then visible.
  @inline(__always)
  package var isFree: Bool { state.load(ordering: .acquiring) == 0 }

  @inline(never)
  private borrowing func lockSlowly() {
    while state.exchange(2, ordering: .acquiring) != 0 { state.wait(while: 2) }
  }

  /// Runs `body` with the lock held.
  @inline(__always)
  package borrowing func withLock<Result: ~Copyable, Failure: Error>(
    _ body: () throws(Failure) -> Result
  ) throws(Failure) -> Result {
    lock()
    defer { unlock() }
    return try body()
  }
}

/// A reader-writer lock. Once a writer waits, new readers wait behind it, so writers are not starved.
package struct SharedLock: ~Copyable, Sendable {
  private static let exclusive: UInt32 = 1 << 31
  private static let waiting: UInt32 = 1 << 30

  /// The `exclusive` bit, the `waiting` bit, and the number of readers below them. Whoever makes the lock free takes
  /// `waiting` away and wakes everybody.
  private let state = Atomic<UInt32>(0)

  #if DEBUG
    private let lockClass: LockClass
    package init(file: StaticString = #fileID, line: UInt = #line) { lockClass = LockClass(file: file, line: line) }
  #else
    package init() {}
  #endif

  @inline(__always)
  package borrowing func lockShared() {
    #if DEBUG
      lockClass.willLock(state.address)
    #endif
    let seen = state.load(ordering: .relaxed)
    if seen < Self.waiting,
      state.compareExchange(expected: seen, desired: seen + 1, ordering: .acquiring).exchanged
    {
      return
    }
    lockSharedSlowly()
  }

  @inline(never)
  private borrowing func lockSharedSlowly() {
    while true {
      let seen = state.load(ordering: .relaxed)
      if seen < Self.waiting {
        if state.weakCompareExchange(expected: seen, desired: seen + 1, ordering: .acquiring).exchanged { return }
      } else {
        waitBehind(seen)
      }
    }
  }

  @inline(__always)
  package borrowing func unlockShared() {
    #if DEBUG
      lockClass.willUnlock(state.address)
    #endif
    let left = state.subtract(1, ordering: .releasing).newValue
    if left == Self.waiting { release(left) }
  }

  /// Whether nobody holds it or waits for it. What was done with it held is then visible.
  @inline(__always)
  package var isFree: Bool { state.load(ordering: .acquiring) == 0 }

  package borrowing func lockExclusive() {
    #if DEBUG
      lockClass.willLock(state.address)
    #endif
    while true {
      let seen = state.load(ordering: .relaxed)
      if seen & ~Self.waiting == 0 {
        let wanted = seen | Self.exclusive
        if state.weakCompareExchange(expected: seen, desired: wanted, ordering: .acquiring).exchanged { return }
      } else {
        waitBehind(seen)
      }
    }
  }

  @inline(__always)
  package borrowing func unlockExclusive() {
    #if DEBUG
      lockClass.willUnlock(state.address)
    #endif
    if state.exchange(0, ordering: .releasing) & Self.waiting != 0 { state.wake(.max) }
  }

  /// Marks the lock as waited for, and sleeps until its holders have gone.
  private borrowing func waitBehind(_ seen: UInt32) {
    let marked = seen | Self.waiting
    if seen != marked {
      guard state.compareExchange(expected: seen, desired: marked, ordering: .relaxed).exchanged else { return }
    }
    state.wait(while: marked)
  }

  private borrowing func release(_ seen: UInt32) {
    // Failing means that a writer came first; it wakes the sleepers when it leaves.
    if state.compareExchange(expected: seen, desired: 0, ordering: .relaxed).exchanged { state.wake(.max) }
  }

  /// Runs `body` while other readers may run too.
  @inline(__always)
  package borrowing func withSharedLock<Result: ~Copyable, Failure: Error>(
    _ body: () throws(Failure) -> Result
  ) throws(Failure) -> Result {
    lockShared()
    defer { unlockShared() }
    return try body()
  }

  /// Runs `body` alone.
  @inline(__always)
  package borrowing func withExclusiveLock<Result: ~Copyable, Failure: Error>(
    _ body: () throws(Failure) -> Result
  ) throws(Failure) -> Result {
    lockExclusive()
    defer { unlockExclusive() }
    return try body()
  }
}

/// Something threads can wait for: a counter that only goes up.
package struct EventCount: ~Copyable, Sendable {
  private let count = Atomic<UInt32>(0)
  /// Threads that sleep or are about to: without any, a signal is no system call.
  private let waiters = Atomic<UInt32>(0)

  package init() {}

  /// How often `signal()` was called; pass it to `wait(after:timeout:)`.
  package borrowing func current() -> UInt32 { count.load(ordering: .acquiring) }

  package borrowing func signal() {
    // Sequentially consistent, here and below: whoever is not counted yet finds the new count when it goes to sleep.
    count.wrappingAdd(1, ordering: .sequentiallyConsistent)
    if waiters.load(ordering: .sequentiallyConsistent) != 0 { count.wake(.max) }
  }

  /// Sleeps until `signal()` has been called since `current()` returned `seen`, or `timeout` has passed.
  package borrowing func wait(after seen: UInt32, timeout: Duration? = nil) {
    guard current() == seen else { return }
    waiters.wrappingAdd(1, ordering: .sequentiallyConsistent)
    count.wait(while: seen, timeout: timeout)
    waiters.wrappingSubtract(1, ordering: .relaxed)
  }
}

extension Atomic where Value == UInt32 {
  #if DEBUG
    /// An `Atomic` does not move while it is borrowed, so a lock that is held has the same one for all.
    fileprivate var address: UnsafeRawPointer { withUnsafePointer(to: self) { UnsafeRawPointer($0) } }
  #endif

  /// futex(2), FUTEX_WAIT: sleeps while the word holds `expected`. May return early.
  fileprivate borrowing func wait(while expected: UInt32, timeout: Duration? = nil) {
    withUnsafePointer(to: self) {
      // An `Atomic` does not move while it is borrowed, so this is the address all threads see.
      let word = UnsafeRawPointer($0).assumingMemoryBound(to: UInt32.self)
      guard let timeout else {
        _ = spool_futex_wait(word, expected, nil)
        return
      }
      let (seconds, attoseconds) = timeout.components
      var limit = timespec(tv_sec: Int(seconds), tv_nsec: Int(attoseconds / 1_000_000_000))
      _ = spool_futex_wait(word, expected, &limit)
    }
  }

  /// futex(2), FUTEX_WAKE.
  fileprivate borrowing func wake(_ waiters: Int32) {
    withUnsafePointer(to: self) {
      _ = spool_futex_wake(UnsafeRawPointer($0).assumingMemoryBound(to: UInt32.self), waiters)
    }
  }
}
