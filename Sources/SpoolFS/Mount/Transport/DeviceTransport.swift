internal import CSpoolSystem
internal import Glibc
internal import SystemPackage

/// Requests by read(2) and answers by writev(2) on /dev/fuse.
final class DeviceTransport: Sendable {
  /// Microseconds for which FORGETs are gathered. Each one that is waited for wakes another processor; a caller does not
  /// wait for any.
  private static let forgetPause: UInt32 = 1000

  private let device: Int32
  private let first: DeviceReader

  /// - Parameter device: the mounted /dev/fuse, which the session closes.
  /// - Throws: ENOMEM.
  init(device: Int32) throws(Errno) {
    self.device = device
    first = try DeviceReader(device: device, sharesDevice: true)
  }

  /// Answers the first request on the calling thread: the kernel sends nothing else before it is answered.
  ///
  /// - Throws: what read(2) fails with.
  func negotiate(_ session: Session) throws(Errno) {
    var failure: Errno?
    first.withThread { failure = first.serveOne(session) }
    if let failure { throw failure }
  }

  /// Starts the threads that read. They end when the kernel has dropped the connection.
  ///
  /// - Parameter maximum: most threads to have; nil for what may be needed.
  /// - Throws: EAGAIN where not even one could be started.
  func start(_ session: Session, maximum: Int?) throws(Errno) {
    let pool = ReaderPool(device: device, first: first, maximum: maximum)
    try pool.start(session)
    session.placement.start(readsDevice: true) { [session] callers, stuck in
      pool.adapt(to: callers, stuck: stuck, session)
    }
  }

  /// Starts the thread for what comes over the device where a ring carries the requests: FORGET and INTERRUPT, and what
  /// was sent before the ring was ready. It ends with the connection, and counts as a worker.
  ///
  /// - Throws: EAGAIN where the system allows no more threads.
  func startBesideRing(_ session: Session) throws(Errno) {
    let reader = first
    try SystemThread.start(named: "spoolfs/forget") {
      reader.withThread {
        while reader.serveOne(session) == nil {
          if reader.hasForgotten { usleep(Self.forgetPause) }
        }
      }
      session.workerEnded()
    }
  }

  /// The worker of `startBesideRing`.
  var workerBesideRing: Worker { first }
}
