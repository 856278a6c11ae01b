import Foundation

/// Runs every job on a thread of its own: jobs that use a mount of this process block in the kernel, and the pool that
/// runs tests has as few threads as the machine has cores.
private final class ThreadExecutor: TaskExecutor {
  static let shared = ThreadExecutor()

  func enqueue(_ job: consuming ExecutorJob) {
    let job = UnownedJob(job)
    let thread = Thread { [self] in job.runSynchronously(on: asUnownedTaskExecutor()) }
    thread.stackSize = 1 << 20
    thread.start()
  }
}

/// Runs `body` on a thread that may block.
func onThread<Result: Sendable>(_ body: @escaping @Sendable () throws -> Result) async throws -> Result {
  try await withTaskExecutorPreference(ThreadExecutor.shared) { try body() }
}

/// Runs `body` on `count` threads at a time, and rethrows the first error.
func onThreads(_ count: Int, _ body: @escaping @Sendable (Int) throws -> Void) async throws {
  try await withThrowingTaskGroup(of: Void.self) { group in
    for index in 0..<count {
      group.addTask(executorPreference: ThreadExecutor.shared) { try body(index) }
    }
    try await group.waitForAll()
  }
}

/// Runs both at a time.
///
/// - Returns: what the first one returned.
func onThreads<Result: Sendable>(
  _ first: @escaping @Sendable () throws -> Result, _ second: @escaping @Sendable () throws -> Void
) async throws -> Result {
  async let other: Void = onThread(second)
  let result = try await onThread(first)
  try await other
  return result
}

/// Waits until `condition` holds, for what the kernel says later: FORGET, RELEASE, the end of a connection.
///
/// It fails after ten seconds, which is only reached where it would never happen.
func eventually(_ condition: () throws -> Bool) throws {
  for _ in 0..<2000 {
    if try condition() { return }
    usleep(5000)
  }
  throw NeverHappened()
}

struct NeverHappened: Error {}
