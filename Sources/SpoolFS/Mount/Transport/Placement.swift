internal import CSpoolSystem
internal import Glibc
import SpoolStorage
internal import Synchronization
internal import SystemPackage

/// What the scheduler does with callers while they wait for their answers.
enum Callers: UInt8, AtomicRepresentable {
  /// It moves them to processors that are free.
  case move
  /// It leaves them where they are, as those who serve them have the idle policy.
  case stay
  /// It has no free processor to move them to.
  case crowd
}

/// Watches the threads that serve requests, and gives them the scheduling policy that `PlacementPolicy` decides on.
///
/// A thread of its own looks each millisecond while requests flow, or every two where a processor is to spare; when none come
/// it sleeps until the next one. All serving threads have the normal policy then. Only it changes policies, and it has the
/// normal one, so that a thread which waits behind others can be helped. (A reader that has the idle policy for good cannot:
/// the others read instead of it.)
final class Placement: @unchecked Sendable {
  // @unchecked: `lock` protects `threads`; `policy` and `load` belong to the thread that watches.

  private static let interval = Duration.milliseconds(1)
  /// Nanoseconds.
  private static let harmfulDelay = 500_000
  /// While there is a processor for everybody: a look may move a caller to another processor.
  private static let steadyInterval = Duration.milliseconds(2)
  /// While a request takes long and no others come.
  private static let longInterval = Duration.milliseconds(16)

  private let lock = Lock()
  private var threads: [ServingThread] = []

  private let device: Int32
  /// Whether requests come over the device, which then tells whether some wait. Written before the thread starts.
  private var readsDevice = false

  private let isAsleep = Atomic<Bool>(true)
  private let hasStopped = Atomic<Bool>(false)
  private let changed = EventCount()

  /// The watching thread's number.
  private let watcher = Atomic<Int32>(0)
  /// The processor that it went to sleep on after its latest look; -1 once it has been sent away, or sleeps for long.
  private let watchedFrom = Atomic<Int32>(-1)

  /// What was seen of late. Written by the thread that watches.
  let callers = Atomic<Callers>(.move)
  /// Whether a thread that leaves its caller's processor finds another. Likewise.
  let hasSpareProcessor = Atomic<Bool>(false)

  private var policy = PlacementPolicy(processors: max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN))))
  private let load = RunnableThreads()

  /// - Parameter device: the mounted /dev/fuse.
  init(device: Int32) { self.device = device }

  // MARK: - The serving threads

  /// Watches the calling thread while `body` runs.
  ///
  /// - Parameters:
  ///   - processor: where its callers are; nil where it looks for them by itself.
  ///   - isAlwaysIdle: whether it has the idle policy, and keeps it.
  func watching(on processor: Int32? = nil, isAlwaysIdle: Bool = false, _ body: (ServingThread) -> Void) {
    let thread = ServingThread(fixedProcessor: processor, isAlwaysIdle: isAlwaysIdle)
    lock.withLock { threads.append(thread) }
    body(thread)
    // Its number may soon be somebody else's.
    lock.withLock { threads.removeAll { $0 === thread } }
  }

  @inline(__always)
  func requestBegins(_ thread: ServingThread) {
    // In one order with `isAsleep`: whoever goes to sleep sees the request, or is woken.
    thread.isBusy.store(true, ordering: .sequentiallyConsistent)
    if isAsleep.load(ordering: .sequentiallyConsistent) { wake() }
  }

  @inline(__always)
  func requestEnds(_ thread: ServingThread) {
    thread.served.store(thread.served.load(ordering: .relaxed) &+ 1, ordering: .relaxed)
    thread.isBusy.store(false, ordering: .relaxed)
    let processor = thread.processor
    if processor >= 0, processor == watchedFrom.load(ordering: .relaxed) { sendWatcherAway(from: processor) }
  }

  /// Has the watching thread look from another processor. A caller that finds it on its own would be moved to another one,
  /// away from who answers; and to leave, it would have to disturb them once more, so it is sent while it sleeps.
  @inline(never)
  private func sendWatcherAway(from processor: Int32) {
    watchedFrom.store(-1, ordering: .relaxed)
    Processors.allowed.keep(watcher.load(ordering: .relaxed), from: processor)
  }

  @inline(never)
  private func wake() {
    if isAsleep.exchange(false, ordering: .acquiringAndReleasing) { changed.signal() }
  }

  // MARK: - The watching thread

  /// Starts to watch, until `stop`. Where the system allows no more threads, all goes on with the normal policy.
  ///
  /// - Parameters:
  ///   - readsDevice: whether the serving threads read from the device.
  ///   - adapt: called on the watching thread after each look: what callers do, and how many threads have been at one
  ///     request since the look before.
  func start(readsDevice: Bool, _ adapt: @escaping @Sendable (_ callers: Callers, _ stuck: Int) -> Void = { _, _ in }) {
    self.readsDevice = readsDevice
    try? SystemThread.start(named: "spoolfs/watch") { [self] in
      watcher.store(spool_thread_id(), ordering: .relaxed)
      while !hasStopped.load(ordering: .acquiring) {
        sleepUntilNextLook()
        let stuck = look()
        adapt(callers.load(ordering: .relaxed), stuck)
        watchedFrom.store(spool_current_processor(), ordering: .relaxed)
      }
    }
  }

  /// Ends the watching thread.
  func stop() {
    hasStopped.store(true, ordering: .releasing)
    changed.signal()
  }

  private func sleepUntilNextLook() {
    guard policy.isQuiet else {
      return changed.wait(after: changed.current(), timeout: policy.isSteady ? Self.steadyInterval : Self.interval)
    }
    watchedFrom.store(-1, ordering: .relaxed)
    hasSpareProcessor.store(false, ordering: .relaxed)
    Processors.allowed.restore(0)
    var seen = changed.current()
    isAsleep.store(true, ordering: .sequentiallyConsistent)
    if lock.withLock({ threads.contains { $0.isBusy.load(ordering: .sequentiallyConsistent) } }) {
      // Something may have to be done for the others before it is answered.
      changed.wait(after: seen, timeout: Self.longInterval)
      if isAsleep.exchange(false, ordering: .acquiringAndReleasing) { return }
    } else {
      while isAsleep.load(ordering: .acquiring), !hasStopped.load(ordering: .acquiring) {
        changed.wait(after: seen)
        seen = changed.current()
      }
    }
    policy.begin()
  }

  /// Looks at all threads, decides, and gives policies.
  ///
  /// - Returns: how many have been at one request since the look before.
  private func look() -> Int {
    let runnable = load.count()
    // The threads cannot end meanwhile.
    return lock.withLock {
      for thread in threads { thread.look() }
      policy.take(
        PlacementPolicy.Sample(
          requests: threads.reduce(0) { $0 + Int($1.watch.progress) },
          isStalled: threads.contains { wasStalled($0) || isStarving($0) }, runnable: runnable,
          servers: threads.reduce(0) {
            $0 + ($1.watch.progress > 0 && $1.hasIdlePolicy.load(ordering: .relaxed) ? 1 : 0)
          },
          active: threads.reduce(0) { $0 + ($1.watch.progress > 0 || $1.watch.wasBusy ? 1 : 0) }
        ))
      let hasIdle = policy.allowsIdle && (Self.canReturn || threads.contains(where: \.isAlwaysIdle))
      hasSpareProcessor.store(policy.hasSpareProcessor, ordering: .relaxed)
      callers.store(hasIdle ? .stay : policy.isCrowded ? .crowd : .move, ordering: .relaxed)
      for thread in threads {
        thread.setIdlePolicy(deserves(thread))
        // One that went to its caller in a crowd waits for requests of whoever comes next.
        if !hasIdle, !policy.isCrowded { thread.leaveHome() }
      }
      return threads.reduce(0) { $0 + ($1.watch.isStuck && (hasIdle || !$1.isAlwaysIdle) ? 1 : 0) }
    }
  }

  /// Whether a request waits that no thread has taken, or may do so. Else a thread is runnable since whom it answered has
  /// displaced it.
  private func mayHaveWaitingRequests() -> Bool {
    var file = pollfd(fd: device, events: Int16(POLLIN), revents: 0)
    return !readsDevice || poll(&file, 1, 0) > 0
  }

  private func deserves(_ thread: ServingThread) -> Bool {
    thread.watch.wasHelped = false
    if thread.isAlwaysIdle { return callers.load(ordering: .relaxed) == .stay }
    guard policy.allowsIdle, Self.canReturn else { return false }
    if thread.watch.progress > 0 { return true }
    guard thread.hasIdlePolicy.load(ordering: .relaxed) else { return false }
    // One that nobody needs is not looked at for ever.
    if thread.watch.quietLooks > PlacementPolicy.patience { return false }
    let isBusy = thread.isBusy.load(ordering: .relaxed)
    guard isBusy || thread.isRunnable() else { return true }
    thread.watch.wasHelped = isBusy || mayHaveWaitingRequests()
    if thread.watch.wasHelped {
      thread.watch.delayWhenHelped = thread.runDelay
      return false
    }
    // It may have been displaced when it had just read a request.
    return thread.watch.quietLooks < 2
  }

  /// Whether a thread that cannot be helped was to answer a request and did not get to run. That it could run at all then shows
  /// that it was not at a disk, say.
  private func isStarving(_ thread: ServingThread) -> Bool {
    thread.isAlwaysIdle && callers.load(ordering: .relaxed) == .stay && thread.watch.progress == 0
      && thread.isRunnable()
      && (thread.isBusy.load(ordering: .relaxed) || mayHaveWaitingRequests())
  }

  /// Whether a thread that was helped had waited for a processor indeed. Else the processor was taken from all of us, as
  /// happens to virtual ones, or the request itself took long.
  private func wasStalled(_ thread: ServingThread) -> Bool {
    thread.watch.wasHelped && thread.watch.progress > 0
      && thread.runDelay - thread.watch.delayWhenHelped >= Self.harmfulDelay
  }

  // MARK: - The system

  /// Whether a thread of this process may go back from SCHED_IDLE: with CAP_SYS_NICE or RLIMIT_NICE. Where it may not, only
  /// one gets there that others can stand in for.
  static let canReturn: Bool = {
    final class Trial: Sendable {
      let succeeded = Atomic<Bool>(false)
      let isDone = Atomic<Bool>(false)
      let changed = EventCount()
    }
    let trial = Trial()
    let hasStarted: Void? = try? SystemThread.start(named: "spoolfs/trial") {
      let thread = spool_thread_id()
      let succeeds = spool_set_idle_policy(thread, 1) == 0 && spool_set_idle_policy(thread, 0) == 0
      trial.succeeded.store(succeeds, ordering: .relaxed)
      trial.isDone.store(true, ordering: .releasing)
      trial.changed.signal()
    }
    while hasStarted != nil {
      let seen = trial.changed.current()
      if trial.isDone.load(ordering: .acquiring) { break }
      trial.changed.wait(after: seen)
    }
    return trial.succeeded.load(ordering: .relaxed)
  }()
}

/// How many threads of the whole system run or could run.
private final class RunnableThreads: Sendable {
  private let file = spool_openat(AT_FDCWD, "/proc/loadavg", O_RDONLY | O_CLOEXEC, 0)

  deinit { if file >= 0 { close(file) } }

  /// Without the one that asks. None where the system does not tell.
  func count() -> Int {
    // "0.20 0.18 0.12 1/80 11206": the number before the slash.
    let count = ProcessFile.read(file) { text in text.field(after: 3, from: 0).flatMap { text.number(at: $0) } }
    return max(0, (count ?? 1) - 1)
  }
}
