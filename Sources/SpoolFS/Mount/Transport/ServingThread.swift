internal import CSpoolSystem
internal import Glibc
internal import Synchronization

/// What `Placement` knows of a thread that serves requests.
final class ServingThread: @unchecked Sendable {
  // @unchecked: `watch` and `status` belong to the thread that watches; the rest is atomic or constant.

  /// What was seen when it was looked at last.
  struct Watch {
    var served: UInt64 = 0
    var wasBusy = false
    /// Requests answered since the look before.
    var progress: UInt64 = 0
    /// Whether it has been at one request since the look before.
    var isStuck = false
    /// Whether it was given the normal policy since it could not run although a request waited for it, or seemed so.
    var wasHelped = false
    /// How long it had waited for a processor when it was helped, in nanoseconds.
    var delayWhenHelped = 0
    /// Looks in a row without progress.
    var quietLooks = 0
  }

  /// The kernel's number of it.
  let number: Int32
  /// Requests answered. Only the thread itself counts.
  let served = Atomic<UInt64>(0)
  /// Whether it has taken a request and not answered it yet.
  let isBusy = Atomic<Bool>(false)
  /// Whether it runs under SCHED_IDLE. Only the thread that watches changes it.
  let hasIdlePolicy = Atomic<Bool>(false)
  /// The processor that it has bound itself to, where its callers are; -1 for none.
  let home = Atomic<Int32>(-1)
  var watch = Watch()
  /// Whether it has given itself the idle policy for good, since this process could not take it away.
  let isAlwaysIdle: Bool
  /// The processor whose callers it serves whatever its policy; nil where it goes to them.
  private let fixedProcessor: Int32?
  /// Its /proc/PID/task/N/stat, once it was needed.
  private var status: Int32 = -1

  /// The calling thread.
  init(fixedProcessor: Int32? = nil, isAlwaysIdle: Bool = false) {
    number = spool_thread_id()
    self.fixedProcessor = fixedProcessor
    self.isAlwaysIdle = isAlwaysIdle
    hasIdlePolicy.store(isAlwaysIdle, ordering: .relaxed)
  }

  deinit { if status >= 0 { close(status) } }

  /// Where its callers are, if that is known; else -1.
  @inline(__always)
  var processor: Int32 { fixedProcessor ?? home.load(ordering: .relaxed) }

  /// Looks what it has done.
  func look() {
    let count = served.load(ordering: .relaxed)
    let busy = isBusy.load(ordering: .relaxed)
    watch.progress = count &- watch.served
    watch.isStuck = watch.progress == 0 && busy && watch.wasBusy
    watch.quietLooks = watch.progress == 0 ? watch.quietLooks + 1 : 0
    watch.served = count
    watch.wasBusy = busy
  }

  /// Gives it SCHED_IDLE, or the normal policy and leave to run anywhere. One that always has the idle policy is only sent
  /// away from where it does not get to run.
  func setIdlePolicy(_ isIdle: Bool) {
    if isAlwaysIdle {
      let processor = home.load(ordering: .relaxed)
      if !isIdle, processor >= 0 {
        home.store(-1, ordering: .relaxed)
        Processors.allowed.keep(number, from: processor)
      }
      return
    }
    if hasIdlePolicy.load(ordering: .relaxed) == isIdle { return }
    if spool_set_idle_policy(number, isIdle ? 1 : 0) == 0 { hasIdlePolicy.store(isIdle, ordering: .relaxed) }
    if !isIdle { leaveHome() }
  }

  /// Lets it run anywhere if it has bound itself. From another thread.
  func leaveHome() {
    if home.load(ordering: .relaxed) >= 0 { leaveHome(number) }
  }

  /// - Parameter thread: its number, or 0 from itself.
  func leaveHome(_ thread: Int32) {
    home.store(-1, ordering: .relaxed)
    Processors.allowed.restore(thread)
  }

  /// How long it has waited for processors since it was started, in nanoseconds.
  var runDelay: Int {
    // The second of three numbers.
    ProcessFile.read("/proc/self/task/\(number)/schedstat") { text in
      text.field(after: 1, from: 0).flatMap { text.number(at: $0) }
    } ?? 0
  }

  /// Whether it could run now, or does.
  func isRunnable() -> Bool {
    if status < 0 { status = spool_openat(AT_FDCWD, "/proc/self/task/\(number)/stat", O_RDONLY | O_CLOEXEC, 0) }
    // The state stands behind the name, which is in parentheses.
    return ProcessFile.read(status) { text in
      text.lastIndex(of: UInt8(ascii: ")")).map { $0 + 2 < text.count && text[$0 + 2] == UInt8(ascii: "R") } ?? false
    } ?? false
  }
}
