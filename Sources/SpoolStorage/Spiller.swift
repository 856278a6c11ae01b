internal import CSpoolSystem
internal import Glibc
internal import Synchronization
internal import SystemPackage

/// The background thread of a store: it moves files to disk when memory gets short, gives up copies of what is on disk,
/// and gives idle memory back to the system. It starts when first needed, sleeps without a timeout when there is nothing
/// to do, and ends with the store.
///
/// It references no store, not even weakly: with a weak reference to it, each file's retain and release of its store would
/// take the runtime's slow path. The store of the files to spill is that of the files.
final class Spiller: Sendable {
  /// Seconds between two looks at idle memory.
  private static let trimInterval: Int64 = 2
  private static let shortestPatience = Duration.milliseconds(5)
  /// Seconds before spilling is tried again after it failed for all files.
  private static let retryInterval: Int64 = 1
  /// Freed small buffers that are worth a `malloc_trim`.
  static let bufferSurplus: Int64 = 1 << 20

  private let pool: ChunkPool
  private let candidates: Candidates
  private let unconfirmedFiles: Candidates
  private let hasEnded = Atomic<Bool>(false)
  private let event = EventCount()
  private let startLock = Lock()
  private let isStarted = Atomic<Bool>(false)
  private let isSpilling = Atomic<Bool>(false)
  /// When spilling last failed for all files, or -1.
  private let failedAt = Atomic<Int64>(-1)
  private let isTrimming = Atomic<Bool>(false)
  private let isStocking = Atomic<Bool>(false)
  private let isConfirming = Atomic<Bool>(false)
  /// Bytes of small buffers that went back to malloc since it last gave memory back.
  let freedBuffers = SharedNumber()

  init(pool: ChunkPool, candidates: Candidates, unconfirmedFiles: Candidates) {
    self.pool = pool
    self.candidates = candidates
    self.unconfirmedFiles = unconfirmedFiles
  }

  deinit { freedBuffers.destroy() }

  /// The store is gone, and so are its files.
  func end() {
    hasEnded.store(true, ordering: .releasing)
    event.signal()
  }

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

  /// The pool has few chunks ready for a writer that takes many.
  @inline(__always)
  func requestStock() {
    if !isStocking.load(ordering: .relaxed), !isStocking.exchange(true, ordering: .relaxed) { startAndWake() }
  }

  /// There are copies to give up when nobody writes any more.
  @inline(__always)
  func requestConfirming() {
    if !isConfirming.load(ordering: .relaxed), !isConfirming.exchange(true, ordering: .relaxed) { startAndWake() }
  }

  /// Starts the thread before it is needed.
  ///
  /// - Returns: whether there is one.
  func prepare() -> Bool {
    if !isStarted.load(ordering: .acquiring) { start() }
    return isStarted.load(ordering: .acquiring)
  }

  private func startAndWake() {
    if !isStarted.load(ordering: .acquiring) { start() }
    event.signal()
  }

  private func start() {
    startLock.withLock {
      guard !isStarted.load(ordering: .relaxed) else { return }
      do throws(Errno) {
        try SystemThread.start(named: "spool-spiller") { self.run() }
        isStarted.store(true, ordering: .releasing)
      } catch {
        // Without the thread, writers that find the budget used up move their own files; the next request tries again.
        isSpilling.store(false, ordering: .relaxed)
        isTrimming.store(false, ordering: .relaxed)
        isStocking.store(false, ordering: .relaxed)
        isConfirming.store(false, ordering: .relaxed)
      }
    }
  }

  /// What the thread remembers between two rounds.
  private struct Progress {
    var trimmedAt = coarseSeconds()
    var confirmedAt = coarseSeconds()
    var freedBuffers: Int64 = 0
    /// How long to wait for files that were all busy.
    var patience: Duration?
  }

  private func run() {
    var progress = Progress()
    while true {
      let seen = event.current()
      guard serveOnce(&progress) else { return }
      let isWaiting = isTrimming.load(ordering: .relaxed) || isConfirming.load(ordering: .relaxed)
      let trimming = isWaiting ? Duration.seconds(Self.trimInterval) : nil
      event.wait(after: seen, timeout: progress.patience ?? trimming)
    }
  }

  /// Returns false when the store is gone.
  private func serveOnce(_ progress: inout Progress) -> Bool {
    if hasEnded.load(ordering: .acquiring) { return false }
    if isStocking.load(ordering: .relaxed) {
      pool.stockUp()
      isStocking.store(false, ordering: .relaxed)
      requestTrimming()
    }
    if isSpilling.load(ordering: .relaxed) {
      progress.patience = spill() ? nil : min((progress.patience ?? Self.shortestPatience) * 2, .seconds(1))
    }
    if !isConfirming.load(ordering: .relaxed) {
      progress.confirmedAt = coarseSeconds()
    } else if coarseSeconds() - progress.confirmedAt >= Self.trimInterval {
      confirm()
      progress.confirmedAt = coarseSeconds()
    }
    if !isTrimming.load(ordering: .relaxed) {
      progress.trimmedAt = coarseSeconds()
    } else if coarseSeconds() - progress.trimmedAt >= Self.trimInterval {
      trim(&progress.freedBuffers)
      progress.trimmedAt = coarseSeconds()
    }
    return true
  }

  /// Returns whether that is all for now; not when files could be spilled if only nobody were changing them. The store is
  /// referenced only in here, so that sleeping does not keep it.
  @inline(never)
  private func spill() -> Bool {
    guard let store = candidates.store else {
      failedAt.store(coarseSeconds(), ordering: .relaxed)
      isSpilling.store(false, ordering: .relaxed)
      return true
    }
    guard relieve(store) else { return false }
    isSpilling.store(false, ordering: .relaxed)
    // A request in between found the flag still set.
    if store.memory.used > store.highWater { requestSpilling() }
    return true
  }

  /// The files are referenced only in here.
  @inline(never)
  private func confirm() {
    isConfirming.store(false, ordering: .relaxed)
    var hasMore = false
    for file in unconfirmedFiles.all() where file.confirmIfIdle() { hasMore = true }
    if hasMore { isConfirming.store(true, ordering: .relaxed) }
  }

  private func relieve(_ store: SpoolStore) -> Bool {
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

  private func trim(_ freedBuffersBefore: inout Int64) {
    let hasMore = pool.trim()
    let freed = freedBuffers.value
    let isQuiet = freed == freedBuffersBefore
    if isQuiet, freed > Self.bufferSurplus {
      malloc_trim(0)
      freedBuffers.set(0)
      freedBuffersBefore = 0
    } else {
      freedBuffersBefore = freed
    }
    if !hasMore, isQuiet {
      isTrimming.store(false, ordering: .relaxed)
      // What was freed in between saw the flag still set.
      if pool.idleBytes > 0 { isTrimming.store(true, ordering: .relaxed) }
    }
  }
}
