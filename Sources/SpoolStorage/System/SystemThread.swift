internal import CSpoolSystem
internal import Glibc
package import SystemPackage

/// Threads of the system's own, not tasks: they block in the kernel for most of their life.
package enum SystemThread {
  private final class Start: Sendable {
    let name: String
    let body: @Sendable () -> Void

    init(_ name: String, _ body: @escaping @Sendable () -> Void) {
      self.name = name
      self.body = body
    }
  }

  /// Starts a detached thread (pthread_create(3)), which nobody waits for.
  ///
  /// Every signal is blocked in it, so that signals go to the threads of the program. Those of a fault of its own are not:
  /// blocked, they would end the process without a backtrace. It has the policy and the processors of the main thread, because
  /// the thread that starts it may be bound to a processor, or run only where nothing else does.
  ///
  /// - Parameters:
  ///   - name: what ps(1) shows; the kernel takes 15 bytes.
  ///   - stackSize: bytes; 0 is the system's usual size. By default enough for a request that ends in a spill to disk, with
  ///     room to spare.
  /// - Throws: EAGAIN where the system allows no more threads, or has no memory for a stack.
  package static func start(
    named name: String, stackSize: Int = 1 << 20, _ body: @escaping @Sendable () -> Void
  ) throws(Errno) {
    let start = Unmanaged.passRetained(Start(name, body))
    let code = spool_start_thread(runThread, start.toOpaque(), stackSize)
    if code == 0 { return }
    start.release()
    throw Errno(rawValue: code)
  }

  fileprivate static func run(_ argument: UnsafeMutableRawPointer) {
    let start = Unmanaged<Start>.fromOpaque(argument).takeRetainedValue()
    spool_run_as_main_thread()
    spool_name_thread(String(start.name.prefix(15)))
    start.body()
  }
}

private func runThread(_ argument: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
  SystemThread.run(argument!)
  return nil
}
