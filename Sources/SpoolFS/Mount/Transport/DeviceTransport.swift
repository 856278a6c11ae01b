internal import CSpoolSystem
internal import Glibc
internal import SystemPackage

/// Requests by read(2) and answers by writev(2) on /dev/fuse, each worker a thread that blocks in read.
final class DeviceTransport: Sendable {
  /// Microseconds for which FORGETs are gathered. Each one that is waited for wakes another processor; a caller does not
  /// wait for any.
  private static let forgetPause: UInt32 = 1000

  private let device: Int32
  private let first: DeviceWorker

  /// - Parameter device: the mounted /dev/fuse, which the session closes.
  init(device: Int32) {
    self.device = device
    first = DeviceWorker(device: device, sharesDevice: true)
  }

  /// Answers the first request on the calling thread: the kernel sends nothing else before it is answered.
  ///
  /// - Throws: what read(2) fails with.
  func negotiate(_ session: Session) throws(Errno) {
    var failure: Errno?
    first.withThread { failure = first.serveOne(session) }
    if let failure { throw failure }
  }

  /// Starts the threads. They end when the kernel has dropped the connection.
  ///
  /// - Throws: EAGAIN where not even one could be started. One is enough to serve.
  func start(_ session: Session, workerCount: Int) throws(Errno) {
    let others = (1..<max(1, workerCount)).map { _ in DeviceWorker(device: device, sharesDevice: false) }
    let workers = [first] + others
    session.workersStart(workers)
    var started = 0
    var failure: Errno?
    for (index, worker) in workers.enumerated() {
      do throws(Errno) {
        try startThread(named: "spoolfs/\(index)", of: worker, session) { while worker.serveOne(session) == nil {} }
        started += 1
      } catch {
        failure = error
        session.workerEnded()
      }
    }
    if let failure, started == 0 { throw failure }
  }

  /// Starts the thread for what comes over the device where a ring carries the requests: FORGET and INTERRUPT, and what
  /// was sent before the ring was ready. It ends with the connection, and counts as a worker.
  ///
  /// - Throws: EAGAIN where the system allows no more threads.
  func startBesideRing(_ session: Session) throws(Errno) {
    let worker = first
    try startThread(named: "spoolfs/forget", of: worker, session) {
      while worker.serveOne(session) == nil {
        if worker.hasForgotten { usleep(Self.forgetPause) }
      }
    }
  }

  /// The worker of `startBesideRing`.
  var workerBesideRing: Worker { first }

  private func startThread(
    named name: String, of worker: DeviceWorker, _ session: Session, _ body: @escaping @Sendable () -> Void
  ) throws(Errno) {
    try WorkerThread.start(named: name) {
      worker.withThread(body)
      session.workerEnded()
    }
  }
}

private final class DeviceWorker: Worker, @unchecked Sendable {
  // @unchecked: as for its superclass.

  private let device: Int32
  private let ownsDevice: Bool
  private let pages: UnsafeMutableRawBufferPointer
  /// Begins so that the data of a WRITE is page-aligned.
  private let receiveBuffer: UnsafeMutableRawBufferPointer

  init(device: Int32, sharesDevice: Bool) {
    let maximumWrite = Negotiation.maximumWrite
    let clone = sharesDevice ? nil : Self.clone(of: device)
    self.device = clone ?? device
    ownsDevice = clone != nil
    let page = Int(getpagesize())
    pages = PageBuffer.allocate(page + maximumWrite + page)
    receiveBuffer = UnsafeMutableRawBufferPointer(
      rebasing: pages[(page - MessageLayout.writePayloadOffset)...])
    super.init(replyBuffer: PageBuffer.allocate(maximumWrite))
  }

  deinit {
    if ownsDevice { close(device) }
    PageBuffer.deallocate(replyBuffer)
    PageBuffer.deallocate(pages)
  }

  /// A channel of its own keeps workers from meeting at the kernel's list of requests under way. Without permission to
  /// open /dev/fuse (fusermount3 opens it for us) the workers share one.
  private static func clone(of device: Int32) -> Int32? {
    let clone = spool_openat(AT_FDCWD, "/dev/fuse", O_RDWR | O_CLOEXEC, 0)
    if clone < 0 { return nil }
    if spool_fuse_clone(clone, device) == 0 { return clone }
    close(clone)
    return nil
  }

  /// Waits for a request and answers it.
  ///
  /// - Returns: nil, or why there will be no more: ENODEV after an unmount.
  func serveOne(_ session: Session) -> Errno? {
    let count = Glibc.read(device, receiveBuffer.baseAddress, receiveBuffer.count)
    if count >= MessageLayout.headerSize {
      session.process(UnsafeMutableRawBufferPointer(rebasing: receiveBuffer[..<count]), on: self)
      return nil
    }
    if count >= 0 { return .ioError }
    switch errno {
    // ENOENT: the caller was interrupted before its request could be read.
    case EINTR, EAGAIN, ENOENT: return nil
    case let code: return Errno(rawValue: code)
    }
  }

  /// Whether the last request was one that nobody waits for.
  var hasForgotten: Bool {
    let opcode = receiveBuffer.loadUnaligned(as: fuse_in_header.self).opcode
    return opcode == Opcode.forget.rawValue || opcode == Opcode.batchForget.rawValue
  }

  override func send(_ parts: UnsafePointer<iovec>, _ count: Int32) -> Int32 {
    while Glibc.writev(device, parts, count) < 0 {
      if errno != EINTR { return errno }
    }
    return 0
  }
}
