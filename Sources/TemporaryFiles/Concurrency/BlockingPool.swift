internal import Glibc
internal import SpoolStorage

/// Threads for system calls that may wait for a disk, so that tasks do not hold up the threads all tasks share.
///
/// Threads are started when there is work and none is idle, up to a limit; further jobs wait in line. A job is a function
/// without `await`, so none waits for another to get a thread. Threads that are idle for some seconds end.
final class BlockingPool: @unchecked Sendable {  // all state is behind `lock`
  typealias Job = @Sendable () -> Void

  /// Disks are the limit, not processors.
  static let shared = BlockingPool(limit: max(16, min(64, 4 * sysconf(Int32(_SC_NPROCESSORS_ONLN)))))

  private static let patience = 10

  private let limit: Int
  private let lock = Lock()
  /// Protected by `lock`, as all that follows. Jobs before `next` have been taken.
  private var jobs: [Job?] = []
  private var next = 0
  private var threads = 0
  /// Threads that wait for `wakeups` and that no job has been promised to.
  private var idle = 0
  private let wakeups: UnsafeMutablePointer<sem_t> = .allocate(capacity: 1)

  init(limit: Int) {
    self.limit = limit
    sem_init(wakeups, 0, 0)
  }

  deinit {
    sem_destroy(wakeups)
    wakeups.deallocate()
  }

  /// Has a thread run `job`; where none can be had, runs it at once.
  func submit(_ job: @escaping Job) {
    let needsThread = lock.withLock { () -> Bool in
      jobs.append(job)
      if idle > 0 {
        idle -= 1
        sem_post(wakeups)
        return false
      }
      guard threads < limit else { return false }
      threads += 1
      return true
    }
    if needsThread, !startThread() { abandonThread() }
  }

  private func startThread() -> Bool {
    (try? SystemThread.start(named: "spool-blocking", stackSize: 0) { self.work() }) != nil
  }

  /// Another thread will come to the job; if there is none, the caller has to do what is in line.
  private func abandonThread() {
    let isAlone = lock.withLock {
      threads -= 1
      return threads == 0
    }
    guard isAlone else { return }
    while let job = lock.withLock({ takeLocked() }) { job() }
  }

  private func work() {
    while true {
      let job = lock.withLock { () -> Job? in
        let job = takeLocked()
        if job == nil { idle += 1 }
        return job
      }
      if let job { job() } else if !waitForWork() { return }
    }
  }

  private func takeLocked() -> Job? {
    guard next < jobs.count else { return nil }
    let job = jobs[next]
    jobs[next] = nil
    next += 1
    if next == jobs.count || next == 1024 {
      jobs.removeFirst(next)
      next = 0
    }
    return job
  }

  /// Returns false when there was none for long enough; the thread has then been counted out.
  private func waitForWork() -> Bool {
    var deadline = timespec()
    clock_gettime(CLOCK_REALTIME, &deadline)
    deadline.tv_sec += Self.patience
    while sem_timedwait(wakeups, &deadline) != 0 {
      if errno == EINTR { continue }
      return lock.withLock {
        // Somebody may have counted on this thread meanwhile.
        if sem_trywait(wakeups) == 0 { return true }
        idle -= 1
        threads -= 1
        return false
      }
    }
    return true
  }
}
