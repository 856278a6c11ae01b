internal import CFuse
internal import CSpoolSystem
internal import Glibc
import SpoolStorage
internal import Synchronization
internal import SystemPackage

/// One connection to the kernel: libfuse's session, the threads that serve it, and its end.
///
/// It lives until the kernel has dropped the connection, which after a lazy unmount is when the last user has gone.
final class Session: @unchecked Sendable {
  // @unchecked: `negotiation` is written by the thread that mounts, before any other serves; `workers`, `liveWorkers`,
  // `currentTransport` and `currentObstacle` are protected by `stateLock`; the rest is constant.

  let files: FileSystem
  private(set) var negotiation: Negotiation
  let openFiles = OpenFiles()
  private var currentTransport = MountOptions.Transport.device
  private var currentObstacle: String?
  private(set) var notifier: KernelNotifier!
  /// Where and when the threads that serve requests run.
  let placement: Placement
  /// Whether what the kernel holds will find space.
  let space: SpaceWatch

  /// When reading files and links moves their access times.
  let accessTimes: AccessTimes
  /// When listing directories moves theirs.
  let directoryAccessTimes: AccessTimes

  /// Answers before the tree does; nil but where the transport itself is measured.
  let responder: (any Responder)?

  private let device: Int32
  /// libfuse's session, made by `open`.
  private var handle: OpaquePointer!

  private let stateLock = Lock()
  private var workers: [Worker] = []
  /// What workers counted that are no more.
  private let retiredCounters = RequestCounters()
  private var liveWorkers = 0
  private let isEnding = Atomic<Bool>(false)
  private let isEnded = Atomic<Bool>(false)
  private let ended = EventCount()

  /// - Parameter device: the mounted /dev/fuse; the session closes it when it ends.
  init(
    _ files: FileSystem, device: Int32, cache: MountOptions.Cache, flags: MountOptions.Flags = [],
    responder: (any Responder)? = nil
  ) {
    self.files = files
    self.device = device
    accessTimes = flags.accessTimes
    directoryAccessTimes = flags.directoryAccessTimes
    self.responder = responder
    placement = Placement(device: device)
    space = SpaceWatch(files.store)
    negotiation = Negotiation(cache: cache)
  }

  deinit {
    // libfuse closes the device as well.
    if let handle { fuse_session_destroy(handle) } else { close(device) }
  }

  /// Agrees with the kernel on how to talk, and starts to serve.
  ///
  /// - Throws: ENOMEM, EPROTO where the kernel's protocol is too old, EAGAIN where no threads can be had, what reading the
  ///   device fails with, and what a ring that must be fails with; `ringObstacle` tells about that one.
  func open(_ transport: MountOptions.Transport, maximumReaders: Int?, ringFault: RingFault? = nil) throws(Errno) {
    handle = try makeLibfuseSession()
    notifier = KernelNotifier(self, handle)
    let direct = try DeviceTransport(device: device)
    let ring = try transport == .device ? nil : prepareRing(isRequired: transport == .ring, ringFault)
    do throws(Errno) {
      negotiation.wantsRing = ring != nil
      try direct.negotiate(self)
      if negotiation.agreed.isEmpty { throw .protocolError }
      try notifier.start()
    } catch {
      ring?.transport.abandon()
      throw error
    }
    files.setObserver(notifier)
    files.store.setRefusalObserver { [notifier] in notifier?.announceLater(.refused($0, $1)) }
    // Strongly, until `end`: a weak reference would make each retain and release of the session a slow one.
    files.setMountStatistics { self.statusObject }
    do throws(Errno) {
      if let ring, try start(ring, beside: direct, isRequired: transport == .ring) { return }
      try direct.start(self, maximum: maximumReaders)
    } catch {
      end()
      throw error
    }
  }

  private func makeLibfuseSession() throws(Errno) -> OpaquePointer {
    spool_silence_fuse()
    var operations = makeOperations(extendedAttributes: files.configuration.extendedAttributes)
    // libfuse hands the session back with every request. Whoever serves one holds it.
    let userdata = Unmanaged.passUnretained(self).toOpaque()
    let made = withArguments(["spoolfs"]) { arguments in
      fuse_session_new(arguments, &operations, MemoryLayout<fuse_lowlevel_ops>.size, userdata)
    }
    guard let made else { throw .noMemory }
    var io = fuse_custom_io(writev: sendMessage, read: readMessage, splice_receive: nil, splice_send: nil)
    let code = fuse_session_custom_io(made, &io, device)
    if code != 0 {
      fuse_session_destroy(made)
      throw Errno(rawValue: -code)
    }
    return made
  }

  // MARK: - The ring

  private typealias PreparedRing = (transport: RingTransport, servers: FirstServers)

  private func prepareRing(isRequired: Bool, _ fault: RingFault?) throws(Errno) -> PreparedRing? {
    let ring = RingTransport(self, device: device, fault: fault)
    do throws(Errno) {
      return (ring, try ring.prepare())
    } catch {
      ringObstacle = "a queue cannot be set up: \(error)"
      if isRequired { throw error }
      return nil
    }
  }

  /// - Returns: whether the ring serves. The kernel comes to the device otherwise.
  private func start(_ ring: PreparedRing, beside direct: DeviceTransport, isRequired: Bool) throws(Errno) -> Bool {
    do throws(Errno) {
      guard negotiation.agreed.contains(.ring) else { throw .notSupported }
      try ring.transport.register(ring.servers)
    } catch {
      ring.transport.abandon()
      ringObstacle = "the kernel does not take it: \(error)"
      if isRequired { throw error }
      return false
    }
    workersStart([direct.workerBesideRing] + ring.servers.entries)
    // Before anybody serves: somebody may ask for the status at once.
    stateLock.withLock { currentTransport = .ring }
    ring.transport.start()
    do throws(Errno) {
      try direct.startBesideRing(self)
    } catch {
      workerEnded()
      throw error
    }
    placement.start(readsDevice: false)
    return true
  }

  // MARK: - Messages

  /// Answers one message of the kernel, on the thread of `worker`, through `worker.send`.
  func process(_ message: UnsafeMutableRawBufferPointer, on worker: Worker) {
    let header = message.loadUnaligned(as: fuse_in_header.self)
    worker.counters.count(header.opcode)
    worker.serving(message) {
      if header.opcode == Opcode.initialize.rawValue, negotiation.agreed.isEmpty { negotiation.readOffer(message) }
      let request = Message(header, UnsafeRawBufferPointer(message))
      if answerWithResponder(request) || answerWithoutLibfuse(request) { return }
      // libfuse looks at no lengths.
      if !request.isComplete { return request.reply.error(.invalidArgument) }
      var buffer = fuse_buf()
      buffer.mem = message.baseAddress
      buffer.size = message.count
      fuse_session_process_buf(handle, &buffer)
    }
  }

  /// What libfuse sends: an answer goes to the worker that serves the request, a notification straight to the device.
  ///
  /// - Returns: 0 or an errno.
  fileprivate func send(_ parts: UnsafeMutablePointer<iovec>, _ count: Int32) -> Int32 {
    let header = parts[0].iov_base.loadUnaligned(as: fuse_out_header.self)
    guard header.unique != 0, let worker = Worker.current else {
      return Glibc.writev(device, parts, count) < 0 ? errno : 0
    }
    if isAnsweringInit(worker), header.error == 0, count > 1 {
      let answer = UnsafeMutableRawBufferPointer(start: parts[1].iov_base, count: parts[1].iov_len)
      if !negotiation.rewriteAnswer(answer) { return EPROTO }
    }
    return worker.send(parts, count)
  }

  private func isAnsweringInit(_ worker: Worker) -> Bool {
    negotiation.agreed.isEmpty
      && worker.message.loadUnaligned(as: fuse_in_header.self).opcode == Opcode.initialize.rawValue
  }

  // MARK: - Life

  /// Registers the workers that are about to serve. Each ends with `workerEnded`, also where it could not be started.
  func workersStart(_ workers: [Worker]) {
    stateLock.withLock {
      self.workers = workers
      liveWorkers = workers.count
    }
  }

  /// Registers one more.
  ///
  /// - Returns: whether it may start; false where all others have ended.
  @discardableResult
  func workerStarts(_ worker: Worker) -> Bool {
    stateLock.withLock {
      if liveWorkers == 0 { return false }
      workers.append(worker)
      liveWorkers += 1
      return true
    }
  }

  /// Registers one that nobody waits for when the session ends.
  func helperStarts(_ worker: Worker) {
    stateLock.withLock { workers.append(worker) }
  }

  /// One ends for want of work, while others serve.
  func workerRetires(_ worker: Worker) {
    stateLock.withLock {
      workers.removeAll { $0 === worker }
      retiredCounters.add(worker.counters)
    }
    workerEnded()
  }

  /// The last worker to end closes the session: there will be no more requests.
  func workerEnded() {
    let isLast = stateLock.withLock {
      liveWorkers -= 1
      return liveWorkers == 0
    }
    if isLast { end() }
  }

  private func end() {
    // Once: where starting failed half-way, workers end later.
    if isEnding.exchange(true, ordering: .acquiringAndReleasing) { return }
    notifier.stop()
    placement.stop()
    files.setObserver(nil)
    files.store.setRefusalObserver(nil)
    files.setMountStatistics(nil)
    openFiles.closeAll(in: files)
    files.forgetAll()
    MountedFileSystems.release(files)
    isEnded.store(true, ordering: .releasing)
    ended.signal()
  }

  var hasEnded: Bool { isEnded.load(ordering: .acquiring) }

  /// Whether the kernel may send requests. Known at once, while threads may take a moment to end.
  var isConnected: Bool {
    if hasEnded { return false }
    var event = pollfd(fd: device, events: 0, revents: 0)
    return poll(&event, 1, 0) <= 0 || event.revents & Int16(POLLERR) == 0
  }

  /// Sleeps until the kernel has dropped the connection, or `timeout` has passed.
  func waitForEnd(timeout: Duration? = nil) {
    let deadline = timeout.map { ContinuousClock.now + $0 }
    while true {
      let seen = ended.current()
      if hasEnded { return }
      let left = deadline.map { $0 - ContinuousClock.now }
      if let left, left <= .zero { return }
      ended.wait(after: seen, timeout: left)
    }
  }

  // MARK: - Numbers

  /// How requests come: `.ring` or `.device`.
  var transport: MountOptions.Transport { stateLock.withLock { currentTransport } }

  /// Those that serve, or could.
  var workerCount: Int { stateLock.withLock { workers.count } }

  /// Why they do not come over a ring, where that was wanted.
  var ringObstacle: String? {
    get { stateLock.withLock { currentObstacle } }
    set { stateLock.withLock { currentObstacle = newValue } }
  }

  /// Requests that reached us, by the protocol's name, without those that never came.
  var requestCounts: [String: UInt64] {
    stateLock.withLock {
      let counters = workers.map(\.counters) + [retiredCounters]
      var counts: [String: UInt64] = [:]
      for opcode in Opcode.allCases {
        let count = counters.reduce(0) { $0 + $1.value(of: opcode) }
        if count > 0 { counts[opcode.name] = count }
      }
      let unknown = counters.reduce(0) { $0 + $1.unknown }
      if unknown > 0 { counts["UNKNOWN"] = unknown }
      return counts
    }
  }

  /// The mount's part of `.spoolfs/stats`.
  private var statusObject: JSONObject {
    var requests = JSONObject()
    for (name, count) in requestCounts.sorted(by: { $0.key < $1.key }) { requests[name] = .number(Int64(count)) }
    var object = JSONObject()
    object["transport"] = .string(Array(transport.rawValue.utf8))
    if let ringObstacle { object["ring_obstacle"] = .string(Array(ringObstacle.utf8)) }
    object["requests"] = .object(requests)
    return object
  }

  // MARK: - From libfuse's pointers

  /// The session a callback belongs to.
  static func of(_ userdata: UnsafeMutableRawPointer?) -> Session {
    Unmanaged<Session>.fromOpaque(userdata!).takeUnretainedValue()
  }
}

/// Runs `body` with `arguments` as libfuse's argument list.
private func withArguments<Result>(
  _ arguments: [String], _ body: (UnsafeMutablePointer<fuse_args>) -> Result
) -> Result {
  var list = fuse_args()
  for argument in arguments { fuse_opt_add_arg(&list, argument) }
  defer { fuse_opt_free_args(&list) }
  return body(&list)
}

private func sendMessage(
  _ descriptor: Int32, _ parts: UnsafeMutablePointer<iovec>?, _ count: Int32, _ userdata: UnsafeMutableRawPointer?
) -> Int {
  let code = Session.of(userdata).send(parts!, count)
  if code == 0 { return 0 }
  // A connection that ended (ENODEV, EPERM), a caller that left, an entry the kernel does not know (ENOENT). libfuse
  // prints any errno but ENOENT.
  errno = ENOENT
  return -1
}

/// Transports read by themselves; libfuse only insists on having the function.
private func readMessage(
  _ descriptor: Int32, _ buffer: UnsafeMutableRawPointer?, _ size: Int, _ userdata: UnsafeMutableRawPointer?
) -> Int {
  errno = ENOSYS
  return -1
}
