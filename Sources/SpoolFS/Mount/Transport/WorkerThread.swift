internal import CSpoolSystem
internal import Glibc
internal import SystemPackage

/// Threads of a mount. They are the system's own, not tasks: they block in the kernel for most of their life, and a task
/// that waits for the mount must never keep them from running.
enum WorkerThread {
  /// Enough for a request that ends in a spill to disk, with room to spare.
  private static let stackSize = 1 << 20

  private final class Start {
    let name: String
    let body: @Sendable () -> Void

    init(_ name: String, _ body: @escaping @Sendable () -> Void) {
      self.name = name
      self.body = body
    }
  }

  /// Starts a detached thread with every signal blocked, so that signals go to the threads of the program.
  ///
  /// - Throws: EAGAIN where the system allows no more threads.
  static func start(named name: String, _ body: @escaping @Sendable () -> Void) throws(Errno) {
    var attributes = pthread_attr_t()
    pthread_attr_init(&attributes)
    defer { pthread_attr_destroy(&attributes) }
    pthread_attr_setstacksize(&attributes, stackSize)
    pthread_attr_setdetachstate(&attributes, Int32(PTHREAD_CREATE_DETACHED))

    // A thread inherits the mask of its creator.
    var all = sigset_t()
    var before = sigset_t()
    sigfillset(&all)
    pthread_sigmask(SIG_SETMASK, &all, &before)
    defer { pthread_sigmask(SIG_SETMASK, &before, nil) }

    let start = Unmanaged.passRetained(Start(name, body))
    var thread = pthread_t()
    let code = pthread_create(&thread, &attributes, runThread, start.toOpaque())
    if code != 0 {
      start.release()
      throw Errno(rawValue: code)
    }
  }

  fileprivate static func run(_ argument: UnsafeMutableRawPointer) {
    let start = Unmanaged<Start>.fromOpaque(argument).takeRetainedValue()
    // Threads that serve start others, and are bound to a processor, or run only where nothing else does.
    spool_run_as_main_thread()
    // The kernel takes 15 bytes.
    spool_name_thread(String(start.name.prefix(15)))
    start.body()
  }
}

private func runThread(_ argument: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
  WorkerThread.run(argument!)
  return nil
}
