internal import CSpoolSystem
internal import Glibc
import SpoolStorage
internal import Synchronization
internal import SystemPackage

/// Requests and answers over io_uring (Linux 6.14): one system call answers a request and waits for the next, and the
/// kernel keeps a queue for each processor, so that caller and server need not wake a second one.
///
/// All that can fail for reasons of ours fails in `prepare`, before the kernel is told. If it then refuses an entry, it
/// goes back to /dev/fuse by itself. It must not be left with a queue that nobody serves: its callers would hang.
final class RingTransport: @unchecked Sendable {
  // @unchecked: `queues` is written by `init` alone; it is a variable since they refer to their transport.

  private enum Stage {
    static let preparing: UInt32 = 0
    static let registering: UInt32 = 1
    static let serving: UInt32 = 2
    static let abandoned: UInt32 = 3
  }

  private unowned let session: Session
  private let device: Int32
  private let fault: RingFault?
  private var queues: [RingQueue] = []

  private let drawnRequests = Atomic<UInt64>(0)
  private let stage = Atomic<UInt32>(Stage.preparing)
  private let stageChanged = EventCount()

  init(_ session: Session, device: Int32, fault: RingFault?) {
    self.session = session
    self.device = device
    self.fault = fault
    queues = (0..<RingSupport.queueCount()).map { RingQueue($0, of: self) }
  }

  // MARK: - The first servers: one for each queue, all at a time

  /// Starts threads and makes rings.
  ///
  /// - Returns: what `register` needs.
  /// - Throws: EAGAIN, ENOMEM, EMFILE, EPERM; nothing is left then.
  func prepare() throws(Errno) -> FirstServers {
    var servers: [RingServer] = []
    for queue in queues { servers.append(try RingServer(queue, maximumWrite: Negotiation.maximumWrite)) }
    let first = FirstServers(servers.map(\.entry))
    for (queue, server) in zip(queues, servers) {
      queue.serverStarts()
      do throws(Errno) {
        try SystemThread.start(named: "spoolfs/\(queue.number)") { [self, session] in
          server.entry.withThread { run(server, of: queue, first, session) }
          server.close()
        }
      } catch {
        first.prepared.report(error)
      }
    }
    if let failure = first.prepared.wait() { throw abandon(failure) }
    return first
  }

  /// Offers all queues to the kernel, which has agreed to use them.
  ///
  /// - Throws: what it refuses one with; it then goes on with /dev/fuse.
  func register(_ first: FirstServers) throws(Errno) {
    enter(Stage.registering)
    if let failure = first.registered.wait() { throw abandon(failure) }
  }

  /// Lets the servers take requests; each ends with `Session.workerEnded`.
  func start() { enter(Stage.serving) }

  /// Ends the servers.
  func abandon() { enter(Stage.abandoned) }

  private func abandon(_ failure: Errno) -> Errno {
    abandon()
    return failure
  }

  private func run(_ server: RingServer, of queue: RingQueue, _ first: FirstServers, _ session: Session) {
    let isLast = queue.number == queues.count - 1
    do throws(Errno) {
      try server.open(device)
      if isLast, fault == .opening { throw .noMemory }
      first.prepared.report(nil)
    } catch {
      return first.prepared.report(error)
    }
    guard waitForStage(after: Stage.preparing) == Stage.registering else { return }
    do throws(Errno) {
      // The kernel knows no queue of that number.
      try server.register(as: isLast && fault == .registering ? queues.count : queue.number)
      first.registered.report(nil)
    } catch {
      return first.registered.report(error)
    }
    guard waitForStage(after: Stage.registering) == Stage.serving else { return }
    server.serve(session)
    session.workerEnded()
  }

  private func enter(_ next: UInt32) {
    stage.store(next, ordering: .releasing)
    stageChanged.signal()
  }

  private func waitForStage(after known: UInt32) -> UInt32 {
    while true {
      let seen = stageChanged.current()
      let now = stage.load(ordering: .acquiring)
      if now != known { return now }
      stageChanged.wait(after: seen)
    }
  }

  // MARK: - Later servers

  /// Starts one more server, from the thread of one.
  ///
  /// - Parameters:
  ///   - file: the one that the calling server's request is for.
  ///   - isNeeded: whether to return only when it serves.
  /// - Throws: EAGAIN where the system allows no more threads, ENOMEM; where it is needed, also what making its ring fails
  ///   with.
  func addServer(to queue: RingQueue, file: UInt64, isNeeded: Bool) throws(Errno) {
    // One that is not needed leaves memory to what is.
    if !isNeeded, !AddressSpace.hasRoom(for: 2 * Negotiation.maximumWrite) { throw .noMemory }
    let server = try RingServer(queue, maximumWrite: Negotiation.maximumWrite)
    let isReady = isNeeded ? Tally(1) : nil
    session.workerStarts(server.entry)
    do throws(Errno) {
      try SystemThread.start(named: "spoolfs/\(queue.number)+") { [self, session] in
        server.entry.withThread { runLater(server, of: queue, file, isReady, session) }
        server.close()
        session.workerEnded()
      }
    } catch {
      session.workerEnded()
      throw error
    }
    if let failure = isReady?.wait() { throw failure }
  }

  /// Makes the kernel send one request to the queue of the calling thread's processor.
  ///
  /// Requests that found no idle server wait until one has answered. A new server takes none of them by itself, and all
  /// others may be waiting for just those: so it is given a request to answer, for no bytes of a file's page cache.
  ///
  /// - Parameter file: the number of a regular file; for anything else there is no request.
  func drawRequest(about file: UInt64) {
    let size = MemoryLayout<fuse_out_header>.size + MemoryLayout<fuse_notify_retrieve_out>.size
    let header = fuse_out_header(len: UInt32(size), error: Int32(FUSE_NOTIFY_RETRIEVE.rawValue), unique: 0)
    // What the request is known by, even as all are. The kernel's own count from 2.
    let number = 1 << 62 | drawnRequests.wrappingAdd(2, ordering: .relaxed).newValue
    let body = fuse_notify_retrieve_out(notify_unique: number, nodeid: file, offset: 0, size: 0, padding: 0)
    withUnsafeBytes(of: (header, body)) { _ = Glibc.write(device, $0.baseAddress, $0.count) }
  }

  private func runLater(
    _ server: RingServer, of queue: RingQueue, _ file: UInt64, _ isReady: Tally?, _ session: Session
  ) {
    do throws(Errno) {
      try server.open(device)
      try server.register(as: queue.number)
    } catch {
      // Who waits for it counts it out.
      if let isReady { isReady.report(error) } else { queue.serverFailed() }
      return
    }
    if let isReady { isReady.report(nil) } else { drawRequest(about: file) }
    server.serve(session)
  }
}

/// The servers that a mount begins with, and how far they are.
final class FirstServers: Sendable {
  let entries: [RingEntry]
  fileprivate let prepared: Tally
  fileprivate let registered: Tally

  fileprivate init(_ entries: [RingEntry]) {
    self.entries = entries
    prepared = Tally(entries.count)
    registered = Tally(entries.count)
  }
}

/// Waits until several threads have told how they fared.
private final class Tally: @unchecked Sendable {
  // @unchecked: `lock` protects the variables.
  private let lock = Lock()
  private let changed = EventCount()
  private var left: Int
  private var failure: Errno?

  init(_ count: Int) { left = count }

  func report(_ failure: Errno?) {
    lock.withLock {
      left -= 1
      self.failure = self.failure ?? failure
    }
    changed.signal()
  }

  /// - Returns: the first failure.
  func wait() -> Errno? {
    while true {
      let seen = changed.current()
      let (left, failure) = lock.withLock { (self.left, self.failure) }
      if left == 0 { return failure }
      changed.wait(after: seen)
    }
  }
}

/// What a test makes fail for the last queue.
package enum RingFault: Sendable {
  /// Its ring cannot be made.
  case opening
  /// The kernel refuses it.
  case registering
}
