internal import CSpoolSystem
internal import Glibc
import SpoolStorage
internal import Synchronization
internal import SystemPackage

/// Who reads from /dev/fuse: as few threads as keep up.
///
/// The kernel wakes the reader that has waited longest, on whatever processor. So while one reader is enough, it reads
/// alone, from the processor of its caller. When requests overlap, more do, up to one for each processor. A reader that is
/// at one request for long does not count: the others must not wait for it. Readers that were added for that (`isSpare`)
/// are parked before the others, and end when nobody has needed them for some seconds.
///
/// To be near its caller a reader needs the idle policy. Where a thread could not be taken back from that, one has it for
/// good: it reads while the others are parked, and they read while it should not.
final class ReaderPool: @unchecked Sendable {
  // @unchecked: `lock` protects the variables, except where one says otherwise.

  /// Readers beyond one for each processor: as many requests may wait for a disk or a lock at a time.
  private static let spare = 32
  /// Nanoseconds after which a parked one ends, or gives its memory back.
  private static let patience = 5_000_000_000

  private let device: Int32
  private let processors: Int

  /// The reader that always has the idle policy.
  private let idleReader: DeviceReader?

  private let lock = Lock()
  private var maximum: Int
  private var readers: [DeviceReader]
  private var parked: [DeviceReader] = []
  private var homes: [ServingThread] = []
  private var hasEnded = false

  /// Those that are not parked. Changed under the lock.
  private let active = Atomic<Int>(0)
  /// Those that are parked though they are no spare ones. Likewise.
  private let parkedRegulars = Atomic<Int>(0)
  /// How many there should be, those that are at one request for long included.
  private let wanted: Atomic<Int>
  /// More of them since requests overlap, while one alone would read.
  private let extra = Atomic<Int>(0)
  /// Readers that are at a request which somebody waits for.
  private let busy = Atomic<Int>(0)
  private let overlaps = Overlaps()

  /// Whether enough requests have overlapped in a crowd since the last look.
  private let hasOverlapped = Atomic<Bool>(false)
  /// Looks since then, in a crowd. Belongs to the thread that watches, as does `callersBefore`.
  private var looksWithoutOverlap = 0
  private var callersBefore = Callers.move
  /// In a crowd clients come in turns, each for some milliseconds: so many looks without an overlap show that there is one.
  private static let calmLooks = 32

  /// - Parameters:
  ///   - first: the one that has talked to the kernel already.
  ///   - maximum: most threads to have; nil for what may be needed.
  init(device: Int32, first: DeviceReader, maximum: Int?) {
    self.device = device
    processors = Processors.allowed.count
    self.maximum = min(max(1, maximum ?? .max), processors + Self.spare)
    idleReader = Placement.canReturn || maximum != nil ? nil : DeviceReader(alwaysIdleOn: device)
    readers = [first]
    wanted = Atomic(max(2, processors))
    parked.reserveCapacity(self.maximum)
  }

  // MARK: - Starting

  /// Starts the first readers.
  ///
  /// - Throws: EAGAIN where not even one could be started. One is enough to serve.
  func start(_ session: Session) throws(Errno) {
    let count = min(maximum, wanted.load(ordering: .relaxed))
    // One is enough to serve. Where there is no memory for more, there are fewer.
    while readers.count < count, let reader = DeviceReader.beside(device: device) { readers.append(reader) }
    session.workersStart(readers)
    active.store(readers.count, ordering: .relaxed)
    var failure: Errno?
    for (index, reader) in readers.enumerated() {
      do throws(Errno) {
        try startThread(of: reader, index, session)
      } catch {
        failure = error
        readerEnded(session)
      }
    }
    if let failure, active.load(ordering: .relaxed) == 0 { throw failure }
    startIdleReader(session)
  }

  /// Without it the others go on as before.
  private func startIdleReader(_ session: Session) {
    // A thread that is started by one with the policy has it too: nobody may have to wait for that.
    guard let idleReader, session.files.store.startThread() else { return }
    session.helperStarts(idleReader)
    do throws(Errno) {
      try SystemThread.start(named: "spoolfs/idle") { [self] in
        idleReader.withThread {
          if spool_set_idle_policy(0, 1) == 0 {
            session.placement.watching(isAlwaysIdle: true) { thread in
              lock.withLock { homes.append(thread) }
              _ = run(idleReader, thread, session)
            }
          }
        }
      }
    } catch {
      // Placement knows of no such thread, so nobody waits for it.
    }
  }

  private func startThread(of reader: DeviceReader, _ number: Int, _ session: Session) throws(Errno) {
    try SystemThread.start(named: "spoolfs/\(number)") { [self] in
      var isRetired = false
      reader.withThread {
        session.placement.watching { thread in
          lock.withLock { homes.append(thread) }
          isRetired = run(reader, thread, session)
          lock.withLock { homes.removeAll { $0 === thread } }
        }
      }
      if isRetired { session.workerRetires(reader) } else { readerEnded(session) }
    }
  }

  private func readerEnded(_ session: Session) {
    lock.withLock { _ = active.subtract(1, ordering: .relaxed) }
    session.workerEnded()
  }

  // MARK: - Reading

  /// - Returns: whether it has ended for want of work; otherwise the kernel has dropped the connection.
  private func run(_ reader: DeviceReader, _ thread: ServingThread, _ session: Session) -> Bool {
    let placement = session.placement
    while true {
      if mayPark(reader), park(reader, thread) { return true }
      var isWaitedFor = false
      var hasServed = false
      let failure = reader.serveOne(session) {
        placement.requestBegins(thread)
        hasServed = true
        isWaitedFor = reader.isWaitedFor
        if isWaitedFor {
          let isFirst = busy.add(1, ordering: .relaxed).oldValue == 0
          notice(reader, isFirst: isFirst, placement.callers.load(ordering: .relaxed))
        }
      } ends: {
        if isWaitedFor { busy.subtract(1, ordering: .relaxed) }
        placement.requestEnds(thread)
      }
      if failure != nil {
        end()
        return false
      }
      if !hasServed { continue }
      if readsNearCaller(thread, placement) {
        reader.followCaller(thread) { isFree($0, for: thread) }
      } else {
        reader.stayAnywhere(thread)
      }
    }
  }

  /// Where a caller stays on its processor its reader goes there too. Several readers in a crowd run wherever there is room:
  /// each could get the other's request.
  private func readsNearCaller(_ thread: ServingThread, _ placement: Placement) -> Bool {
    switch placement.callers.load(ordering: .relaxed) {
    case .move: false
    case .stay: thread.hasIdlePolicy.load(ordering: .relaxed)
    case .crowd: extra.load(ordering: .relaxed) == 0
    }
  }

  /// Sees whether requests overlap, when `reader` has taken one.
  ///
  /// - Parameter isFirst: whether no other reader is at one.
  @inline(__always)
  private func notice(_ reader: DeviceReader, isFirst: Bool, _ callers: Callers) {
    if callers == .move { return }
    let extra = extra.load(ordering: .relaxed)
    switch overlaps.note(overlapping: reader.meetsOthers() || (extra > 0 && !isFirst)) {
    case .undecided: break
    case .oneReader: if extra > 0, callers == .stay { self.extra.store(0, ordering: .relaxed) }
    case .moreReaders:
      if callers == .crowd { hasOverlapped.store(true, ordering: .relaxed) }
      if extra < processors - 1,
        self.extra.compareExchange(expected: extra, desired: extra + 1, ordering: .relaxed).exchanged
      {
        releaseReaders()
      }
    }
  }

  private func isFree(_ processor: Int32, for thread: ServingThread) -> Bool {
    Processors.allowed.contains(processor)
      && lock.withLock { !homes.contains { $0 !== thread && $0.home.load(ordering: .relaxed) == processor } }
  }

  // MARK: - How many

  /// How many are to read now.
  private var target: Int { wanted.load(ordering: .relaxed) + extra.load(ordering: .relaxed) }

  private func mayPark(_ reader: DeviceReader) -> Bool {
    if reader.isAlwaysIdle { return !reader.isWanted.load(ordering: .relaxed) }
    return active.load(ordering: .relaxed) > target || (reader.isSpare && parkedRegulars.load(ordering: .relaxed) > 0)
  }

  /// - Returns: whether the reader is to end, as nobody knows it any more.
  private func park(_ reader: DeviceReader, _ thread: ServingThread) -> Bool {
    // Not to keep the others from its processor.
    reader.stayAnywhere(thread)
    lock.withLock {
      guard !hasEnded, mayPark(reader) else { return }
      if !reader.isAlwaysIdle {
        active.subtract(1, ordering: .relaxed)
        // The last one is released first.
        if reader.isSpare { parked.insert(reader, at: 0) } else { parked.append(reader) }
        if !reader.isSpare { parkedRegulars.add(1, ordering: .relaxed) }
      }
      reader.isParked.store(true, ordering: .relaxed)
    }
    if reader.isSpare { releaseReaders() }
    if waitForRelease(of: reader) { return true }
    // It may have been sent away from where it did not get to run.
    if reader.isAlwaysIdle { thread.leaveHome(0) }
    return false
  }

  /// - Returns: whether the reader is to end.
  private func waitForRelease(of reader: DeviceReader) -> Bool {
    let end = nanoseconds(of: CLOCK_MONOTONIC) + Self.patience
    var hasWaited = false
    while true {
      let seen = reader.released.current()
      if !reader.isParked.load(ordering: .acquiring) { return false }
      if hasWaited {
        reader.released.wait(after: seen)
        continue
      }
      let left = end - nanoseconds(of: CLOCK_MONOTONIC)
      if left > 0 {
        reader.released.wait(after: seen, timeout: .nanoseconds(left))
        continue
      }
      if retire(reader) { return true }
      reader.discardMemory()
      hasWaited = true
    }
  }

  /// Forgets a spare reader that is parked.
  ///
  /// - Returns: false where it is to stay.
  private func retire(_ reader: DeviceReader) -> Bool {
    lock.withLock {
      guard reader.isSpare, !hasEnded, reader.isParked.load(ordering: .relaxed) else { return false }
      parked.removeAll { $0 === reader }
      readers.removeAll { $0 === reader }
      return true
    }
  }

  /// Lets as many read as should.
  private func releaseReaders() {
    lock.withLock {
      while hasEnded || active.load(ordering: .relaxed) < target, let reader = parked.popLast() {
        active.add(1, ordering: .relaxed)
        if !reader.isSpare { parkedRegulars.subtract(1, ordering: .relaxed) }
        release(reader)
      }
      if let idleReader, hasEnded || idleReader.isWanted.load(ordering: .relaxed) { release(idleReader) }
    }
  }

  /// Preconditions: `lock` held.
  private func release(_ reader: DeviceReader) {
    if !reader.isParked.load(ordering: .relaxed) { return }
    reader.isParked.store(false, ordering: .releasing)
    reader.released.signal()
  }

  /// Adapts to what was seen of the readers, on the thread that watches them.
  ///
  /// - Parameter stuck: readers that have been at one request for long.
  func adapt(to callers: Callers, stuck: Int, _ session: Session) {
    adaptExtra(to: callers)
    let isIdleReadersTurn = idleReader != nil && callers == .stay
    // Beside it none could be near its caller.
    let usesIdleReader = isIdleReadersTurn && extra.load(ordering: .relaxed) == 0
    let usual = usesIdleReader ? 0 : callers == .move || isIdleReadersTurn ? max(2, processors) : 1
    wanted.store(usual + stuck, ordering: .relaxed)
    let usedIdleReader = idleReader?.isWanted.exchange(usesIdleReader, ordering: .relaxed) == true
    releaseReaders()
    if usedIdleReader, !usesIdleReader { idleReader?.callAway() }
    while let reader = makeReader() {
      guard session.workerStarts(reader) else { return }
      do throws(Errno) {
        try startThread(of: reader, lock.withLock { readers.count - 1 }, session)
      } catch {
        // The system allows no more.
        lock.withLock { maximum = readers.count - 1 }
        return readerEnded(session)
      }
    }
  }

  /// In a crowd more than one read at first.
  private func adaptExtra(to callers: Callers) {
    defer { callersBefore = callers }
    let overlapped = hasOverlapped.exchange(false, ordering: .relaxed)
    switch callers {
    case .stay: break
    case .move: extra.store(0, ordering: .relaxed)
    case .crowd where callersBefore != .crowd:
      looksWithoutOverlap = 0
      extra.store(processors - 1, ordering: .relaxed)
    case .crowd:
      looksWithoutOverlap = overlapped ? 0 : looksWithoutOverlap + 1
      if looksWithoutOverlap == Self.calmLooks { extra.store(0, ordering: .relaxed) }
    }
  }

  /// - Returns: one more, where too few read and none is left.
  private func makeReader() -> DeviceReader? {
    lock.withLock {
      guard !hasEnded, parked.isEmpty, active.load(ordering: .relaxed) < target, readers.count < maximum else {
        return nil
      }
      guard let reader = DeviceReader.beside(device: device, isSpare: true) else { return nil }
      readers.append(reader)
      active.add(1, ordering: .relaxed)
      return reader
    }
  }

  /// The kernel has dropped the connection.
  private func end() {
    lock.withLock { hasEnded = true }
    releaseReaders()
  }
}
