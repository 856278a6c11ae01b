internal import CSpoolSystem
internal import Glibc
internal import Synchronization

/// The background thread of a store: it moves files to disk when memory gets short, and gives idle memory back to the
/// system. It starts when first needed, sleeps without a timeout when there is nothing to do, and ends with the store.
final class Spiller: @unchecked Sendable {  // `store` is set once, before any other thread sees it
  /// Seconds between two looks at idle memory.
  private static let trimInterval: Int64 = 2
  private static let shortestPatience = Duration.milliseconds(5)
  /// Seconds before spilling is tried again after it failed for all files.
  private static let retryInterval: Int64 = 1
  /// Freed small buffers that are worth a `malloc_trim`.
  private static let bufferSurplus: Int64 = 1 << 20

  private weak var store: SpoolStore?
  private let event = EventCount()
  private let startLock = Lock()
  private let isStarted = Atomic<Bool>(false)
  private let isSpilling = Atomic<Bool>(false)
  /// When spilling last failed for all files, or -1.
  private let failedAt = Atomic<Int64>(-1)
  private let isTrimming = Atomic<Bool>(false)
  private let freedBuffers = Atomic<Int64>(0)

  init() {}

  func serve(_ store: SpoolStore) { self.store = store }

  func wake() { event.signal() }

  /// Memory is short: starts spilling, unless that is under way, or just failed.
  @inline(__always)
  func requestSpilling() {
    if !isSpilling.load(ordering: .relaxed) { requestSpillingSlowly() }
  }

  @inline(never)
  private func requestSpillingSlowly() {
    let failed = failedAt.load(ordering: .relaxed)
    if failed >= 0, coarseSeconds() - failed < Self.retryInterval { return }
    guard !isSpilling.exchange(true, ordering: .relaxed) else { return }
    startAndWake()
  }

  /// Disk space or descriptors came back: a failure before says nothing any more.
  @inline(__always)
  func spaceWasFreed() {
    if failedAt.load(ordering: .relaxed) >= 0 { failedAt.store(-1, ordering: .relaxed) }
  }

  /// The pool has memory that could go back to the system.
  @inline(__always)
  func requestTrimming() {
    if !isTrimming.load(ordering: .relaxed), !isTrimming.exchange(true, ordering: .relaxed) { startAndWake() }
  }

  /// A small buffer went back to malloc.
  func bufferWasFreed(_ bytes: Int) {
    if freedBuffers.add(Int64(bytes), ordering: .relaxed).newValue > Self.bufferSurplus { requestTrimming() }
  }

  private func startAndWake() {
    if !isStarted.load(ordering: .acquiring) { start() }
    event.signal()
  }

  private func start() {
    startLock.withLock {
      guard !isStarted.load(ordering: .relaxed) else { return }
      let argument = Unmanaged.passRetained(self).toOpaque()
      let body: @convention(c) (UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? = { argument in
        Unmanaged<Spiller>.fromOpaque(argument!).takeRetainedValue().run()
        return nil
      }
      if spool_start_thread(body, argument) == 0 {
        isStarted.store(true, ordering: .releasing)
      } else {
        // Without the thread, writers that find the budget used up move their own files; the next request tries again.
        Unmanaged<Spiller>.fromOpaque(argument).release()
        isSpilling.store(false, ordering: .relaxed)
        isTrimming.store(false, ordering: .relaxed)
      }
    }
  }

  /// What the thread remembers between two rounds.
  private struct Progress {
    var trimmedAt = coarseSeconds()
    var freedBuffers: Int64 = 0
    /// How long to wait for files that were all busy.
    var patience: Duration?
  }

  private func run() {
    spool_name_thread("spool-spiller")
    var progress = Progress()
    while true {
      let seen = event.current()
      guard serveOnce(&progress) else { return }
      let trimming = isTrimming.load(ordering: .relaxed) ? Duration.seconds(Self.trimInterval) : nil
      event.wait(after: seen, timeout: progress.patience ?? trimming)
    }
  }

  /// Returns false when the store is gone. The store is referenced only in here, so that sleeping does not keep it.
  @inline(never)
  private func serveOnce(_ progress: inout Progress) -> Bool {
    guard let store else { return false }
    if isSpilling.load(ordering: .relaxed) {
      progress.patience = spill(store) ? nil : min((progress.patience ?? Self.shortestPatience) * 2, .seconds(1))
      if progress.patience == nil {
        isSpilling.store(false, ordering: .relaxed)
        // A request in between found the flag still set.
        if store.memory.used > store.highWater { requestSpilling() }
      }
    }
    if !isTrimming.load(ordering: .relaxed) {
      progress.trimmedAt = coarseSeconds()
    } else if coarseSeconds() - progress.trimmedAt >= Self.trimInterval {
      trim(store, &progress.freedBuffers)
      progress.trimmedAt = coarseSeconds()
    }
    return true
  }

  /// Returns whether that is all for now; not when files could be spilled if only nobody were changing them.
  private func spill(_ store: SpoolStore) -> Bool {
    while store.memory.used > store.lowWater {
      let relief = store.relieve(store.memory.used - store.lowWater, excluding: nil)
      if relief.freed == 0 {
        if relief.sawBusyFiles { return false }
        failedAt.store(coarseSeconds(), ordering: .relaxed)
        return true
      }
    }
    return true
  }

  private func trim(_ store: SpoolStore, _ freedBuffersBefore: inout Int64) {
    let hasMore = store.pool.trim()
    let freed = freedBuffers.load(ordering: .relaxed)
    let isQuiet = freed == freedBuffersBefore
    if isQuiet, freed > Self.bufferSurplus {
      malloc_trim(0)
      freedBuffers.subtract(freed, ordering: .relaxed)
      freedBuffersBefore = 0
    } else {
      freedBuffersBefore = freed
    }
    if !hasMore, isQuiet {
      isTrimming.store(false, ordering: .relaxed)
      // What was freed in between saw the flag still set.
      if store.pool.idleBytes > 0 { isTrimming.store(true, ordering: .relaxed) }
    }
  }
}
