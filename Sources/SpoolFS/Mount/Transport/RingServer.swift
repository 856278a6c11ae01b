internal import CSpoolRing
internal import CSpoolSystem
internal import Glibc
internal import Synchronization
internal import SystemPackage

/// What one thread needs to serve a queue: a ring of its own, and an entry.
///
/// Only that thread uses it, so its ring has a single issuer, which is the fastest kind.
final class RingServer: @unchecked Sendable {
  // @unchecked: made by one thread, then used by the one that it is for.

  let entry: RingEntry
  private let queue: RingQueue
  private var ring: OpaquePointer?
  /// Whether the thread has gone away from the queue's processor.
  private var isAway = false

  /// - Throws: ENOMEM.
  init(_ queue: RingQueue, maximumWrite: Int) throws(Errno) {
    self.queue = queue
    entry = try RingEntry(queue, maximumWrite: maximumWrite)
  }

  /// Makes the ring, and moves the thread to the processor whose callers it serves. Where that one is offline, or not ours
  /// to use, another serves it.
  ///
  /// - Throws: ENOMEM, EPERM, EMFILE: what io_uring_setup(2) and io_uring_register(2) fail with.
  func open(_ device: Int32) throws(Errno) {
    spool_run_on_processor(Int32(queue.number))
    guard let ring = spool_ring_open(device) else { throw Errno(rawValue: errno) }
    self.ring = ring
  }

  /// Gives the ring back, and with it the entry.
  func close() {
    if let ring { spool_ring_close(ring) }
    ring = nil
  }

  /// Offers the entry to the kernel.
  ///
  /// - Parameter number: the queue's number.
  /// - Throws: what the kernel refuses it with.
  func register(as number: Int) throws(Errno) {
    while true {
      prepareRegistration(as: number)
      let code = Errno(rawValue: spool_ring_submit(ring))
      if code.rawValue == 0 { break }
      if !Self.isTransient(code) { throw code }
    }
    queue.serverIsRegistered()
  }

  /// Serves requests until the kernel has dropped the connection.
  func serve(_ session: Session) {
    session.placement.watching(on: Int32(queue.number)) { serve(session, $0) }
  }

  private func serve(_ session: Session, _ thread: ServingThread) {
    let placement = session.placement
    let mayLeave = session.negotiation.cachesReads && queue.canBeLeft
    var wasRegistered = true
    while true {
      switch Errno(rawValue: spool_ring_wait(ring, entry.patience)) {
      case Errno(rawValue: 0):
        wasRegistered = true
        placement.requestBegins(thread)
        queue.requestBegins(on: entry.file)
        if mayLeave { chooseProcessor(placement) }
        entry.serve(session)
        queue.requestEnds()
        placement.requestEnds(thread)
        prepareCommit()
      case Errno(rawValue: ETIME):
        // What was prepared is submitted.
        entry.discardMemory()
      case .socketNotConnected, .connectionAbort:
        return
      case let code where Self.isTransient(code):
        wasRegistered ? prepareCommit() : prepareRegistration(as: queue.number)
      default:
        // The kernel did not take the answer. Nothing of ours makes it do so; but the queue must not lose its server.
        if !wasRegistered { return }
        wasRegistered = false
        prepareRegistration(as: queue.number)
      }
    }
  }

  /// Goes to another processor for a READ of what a program has not asked for yet, so that the program and we copy at the
  /// same time, and comes back for any other request: for that, the caller waits.
  @inline(__always)
  private func chooseProcessor(_ placement: Placement) {
    let read = entry.read
    if read == nil, !isAway { return }
    let isOfStream = read.map { queue.isOfStream($0) } ?? false
    let belongsElsewhere = isOfStream && placement.hasSpareProcessor.load(ordering: .relaxed)
    if belongsElsewhere != isAway { move(away: belongsElsewhere) }
  }

  @inline(never)
  private func move(away: Bool) {
    let home = Int32(queue.number)
    if away {
      Processors.allowed.keep(0, from: home)
    } else if spool_run_on_processor(home) != 0 {
      // It is offline. Once it is back, the scheduler may choose it again.
      Processors.allowed.restore(0)
    }
    isAway = away
  }

  private func prepareRegistration(as number: Int) {
    spool_ring_prepare(ring, spool_ring_register, entry.buffers, 0, UInt16(number))
  }

  private func prepareCommit() {
    spool_ring_prepare(ring, spool_ring_commit_and_fetch, nil, entry.commitID, UInt16(queue.number))
  }

  private static func isTransient(_ code: Errno) -> Bool {
    code == .resourceTemporarilyUnavailable || code == .interrupted
  }
}
