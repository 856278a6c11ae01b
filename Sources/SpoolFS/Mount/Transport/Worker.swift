internal import CSpoolSystem
internal import Glibc
internal import SystemPackage

/// The seam between a session and what carries its messages: one per thread that takes requests.
///
/// A transport subclasses it, fills a buffer with one message as the kernel sent it, and calls
/// `session.process(_:on:)`. The answer comes back through `send` on the same thread before `process` returns, but for a
/// search for holes under a writeback cache: `willAnswerLater` is called for it, and the notifier's thread answers, also
/// through `send`. A request that wants no answer sends none. `willAnswerLater` is also called for FSYNC, which waits for a disk.
class Worker: @unchecked Sendable {
  // @unchecked: all but the counters belongs to the one thread that runs the worker.

  let counters = RequestCounters()

  /// Room for the answer to the largest READ or READDIR, whose requests bring no data. Belongs to the transport.
  let replyBuffer: UnsafeMutableRawBufferPointer

  /// The request under way.
  fileprivate(set) var message = UnsafeMutableRawBufferPointer(start: nil, count: 0)

  init(replyBuffer: UnsafeMutableRawBufferPointer) { self.replyBuffer = replyBuffer }

  /// Sends one answer: a `fuse_out_header` and what follows it.
  ///
  /// - Returns: 0 or an errno; ENOENT means that the caller has gone.
  func send(_ parts: UnsafePointer<iovec>, _ count: Int32) -> Int32 {
    preconditionFailure("a transport must send")
  }

  /// The request under way will be answered by another thread, after the kernel has sent other requests, or by this one after
  /// a long time. Called on the worker's own thread.
  ///
  /// - Throws: EAGAIN, ENOMEM where nobody would be left to take those requests.
  func willAnswerLater() throws(Errno) {}

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
  /// - Throws: ENOMEM where the system has no memory, or address space.
  static func allocate(_ count: Int) throws(Errno) -> UnsafeMutableRawBufferPointer {
    guard let address = spool_map_memory(count) else { throw Errno(rawValue: errno) }
    return UnsafeMutableRawBufferPointer(start: address, count: count)
  }

  static func deallocate(_ buffer: UnsafeMutableRawBufferPointer) {
    munmap(buffer.baseAddress!, buffer.count)
  }

  /// Gives the memory back, not the addresses. What was there is lost.
  static func discard(_ buffer: UnsafeMutableRawBufferPointer) {
    madvise(buffer.baseAddress!, buffer.count, MADV_DONTNEED)
  }
}
