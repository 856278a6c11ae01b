internal import CSpoolSystem
internal import Glibc

/// The seam between a session and what carries its messages: one per thread that takes requests.
///
/// A transport subclasses it, fills a buffer with one message as the kernel sent it, and calls
/// `session.process(_:on:)`. The answer comes back through `send` on the same thread before `process` returns, but for a
/// search for holes under a writeback cache, which the notifier's thread answers later, also through `send`. A request that
/// wants no answer sends none.
class Worker: @unchecked Sendable {
  // @unchecked: all but the counters belongs to the one thread that runs the worker.

  let counters = RequestCounters()

  /// Room for the answer to the largest READ or READDIR. Never touched, it costs no memory.
  let replyBuffer: UnsafeMutableRawBufferPointer

  /// The request under way.
  fileprivate(set) var message = UnsafeMutableRawBufferPointer(start: nil, count: 0)

  init(replyCapacity: Int) {
    replyBuffer = PageBuffer.allocate(replyCapacity)
  }

  deinit { PageBuffer.deallocate(replyBuffer) }

  /// Sends one answer: a `fuse_out_header` and what follows it.
  ///
  /// - Returns: 0 or an errno; ENOENT means that the caller has gone.
  func send(_ parts: UnsafePointer<iovec>, _ count: Int32) -> Int32 {
    preconditionFailure("a transport must send")
  }

  /// Makes `message` the request under way while `body` runs.
  @inline(__always)
  final func serving(_ message: UnsafeMutableRawBufferPointer, _ body: () -> Void) {
    self.message = message
    body()
    self.message = UnsafeMutableRawBufferPointer(start: nil, count: 0)
  }

  /// The calling thread's worker: inside a libfuse callback, the one that called `process`.
  static var current: Worker? {
    spool_current_worker().map { Unmanaged<Worker>.fromOpaque($0).takeUnretainedValue() }
  }

  /// Makes this the calling thread's worker while `body` runs.
  final func withThread(_ body: () -> Void) {
    spool_set_current_worker(Unmanaged.passUnretained(self).toOpaque())
    body()
    spool_set_current_worker(nil)
    withExtendedLifetime(self) {}
  }
}

/// Whole pages straight from the system, so that what is never used costs nothing.
enum PageBuffer {
  static func allocate(_ count: Int) -> UnsafeMutableRawBufferPointer {
    let address = mmap(nil, count, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    precondition(address != MAP_FAILED, "out of address space")
    return UnsafeMutableRawBufferPointer(start: address, count: count)
  }

  static func deallocate(_ buffer: UnsafeMutableRawBufferPointer) {
    munmap(buffer.baseAddress!, buffer.count)
  }
}
