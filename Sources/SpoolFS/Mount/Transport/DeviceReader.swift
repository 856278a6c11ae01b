internal import CSpoolSystem
internal import Glibc
import SpoolStorage
internal import Synchronization
internal import SystemPackage

/// One thread's part of the device transport: a channel of /dev/fuse and room for a message.
final class DeviceReader: Worker, @unchecked Sendable {
  // @unchecked: as for its superclass.

  private let device: Int32
  private let ownsDevice: Bool
  /// Room for a message and, behind it, for an answer.
  private let pages: UnsafeMutableRawBufferPointer
  /// Begins so that the data of a WRITE is page-aligned.
  private let receiveBuffer: UnsafeMutableRawBufferPointer

  /// Whether it is one of those that the pool adds, and ends when nobody needs them. It does not block in read(2), where it
  /// could not see that.
  let isSpare: Bool
  /// Whether it has the idle policy for good, and so must never be the only one that could take a request: it does not block
  /// in read(2), from where nobody could call it away.
  let isAlwaysIdle: Bool
  /// Whether it should read now, if it has the idle policy for good. `ReaderPool` changes it, and calls it away.
  let isWanted = Atomic<Bool>(false)
  /// An eventfd(2) that calls it away.
  private let call: Int32

  /// Whether it is not to read, for as long as others do. `ReaderPool` changes it, and signals `released`.
  let isParked = Atomic<Bool>(false)
  let released = EventCount()

  /// Whether it waits in poll(2), which ends. The others do where they have memory to give back.
  private var waitsInPoll: Bool
  private var large = LargeMessages()

  private var place = CallerPlace()
  private var pace = CallerPace()
  /// When the last request was served, and how long after that the next one came, in nanoseconds.
  private var answerTime = 0
  private var pause = 0
  private var lastCaller: UInt32 = 0

  /// - Throws: ENOMEM where there is no memory for its messages.
  convenience init(device: Int32, sharesDevice: Bool, isSpare: Bool = false) throws(Errno) {
    let pages = try Self.allocatePages()
    let clone = sharesDevice ? nil : Self.clone(of: device, isSpare ? Int32(O_NONBLOCK) : 0)
    self.init(pages, device: clone ?? device, ownsDevice: clone != nil, call: -1, isSpare: isSpare)
  }

  /// One that is of use and not needed, so that it leaves memory to what is.
  ///
  /// - Returns: nil where memory is short.
  static func beside(device: Int32, isSpare: Bool = false) -> DeviceReader? {
    guard AddressSpace.hasRoom(for: 2 * Negotiation.maximumWrite + threadSize) else { return nil }
    return try? DeviceReader(device: device, sharesDevice: false, isSpare: isSpare)
  }

  /// About what a thread takes, in bytes.
  private static let threadSize = 2 << 20

  /// One that always has the idle policy; nil where it could have no channel of its own, or no memory.
  convenience init?(alwaysIdleOn device: Int32) {
    guard let clone = Self.clone(of: device, Int32(O_NONBLOCK)) else { return nil }
    let call = spool_eventfd()
    guard call >= 0, let pages = try? Self.allocatePages() else {
      if call >= 0 { close(call) }
      close(clone)
      return nil
    }
    self.init(pages, device: clone, ownsDevice: true, call: call, isSpare: false)
  }

  private static var receiveSize: Int { Negotiation.maximumWrite + 2 * Int(getpagesize()) }

  private static func allocatePages() throws(Errno) -> UnsafeMutableRawBufferPointer {
    try PageBuffer.allocate(receiveSize + Negotiation.maximumWrite)
  }

  private init(
    _ pages: UnsafeMutableRawBufferPointer, device: Int32, ownsDevice: Bool, call: Int32, isSpare: Bool
  ) {
    self.device = device
    self.ownsDevice = ownsDevice
    self.call = call
    self.pages = pages
    self.isSpare = isSpare
    isAlwaysIdle = call >= 0
    waitsInPoll = isSpare || isAlwaysIdle
    receiveBuffer = UnsafeMutableRawBufferPointer(
      rebasing: pages[(Int(getpagesize()) - MessageLayout.writePayloadOffset)..<Self.receiveSize])
    super.init(replyBuffer: UnsafeMutableRawBufferPointer(rebasing: pages[Self.receiveSize...]))
  }

  deinit {
    if ownsDevice { close(device) }
    if call >= 0 { close(call) }
    PageBuffer.deallocate(pages)
  }

  /// A channel of its own keeps readers from meeting at the kernel's list of requests under way. Without permission to
  /// open /dev/fuse (fusermount3 opens it for us) the readers share one.
  private static func clone(of device: Int32, _ flags: Int32 = 0) -> Int32? {
    let clone = spool_openat(AT_FDCWD, "/dev/fuse", O_RDWR | O_CLOEXEC | flags, 0)
    if clone < 0 { return nil }
    if spool_fuse_clone(clone, device) == 0 { return clone }
    close(clone)
    return nil
  }

  // MARK: - Requests

  /// Waits for a request and answers it.
  ///
  /// - Parameters:
  ///   - begins: called when there is one.
  ///   - ends: called when it is answered.
  /// - Returns: nil, or why there will be no more: ENODEV after an unmount.
  @inline(__always)
  func serveOne(_ session: Session, begins: () -> Void = {}, ends: () -> Void = {}) -> Errno? {
    if waitsInPoll, !waitForRequest() { return nil }
    let count = Glibc.read(device, receiveBuffer.baseAddress, receiveBuffer.count)
    if count >= MessageLayout.headerSize {
      pause = nanoseconds(of: CLOCK_MONOTONIC) - answerTime
      begins()
      session.process(UnsafeMutableRawBufferPointer(rebasing: receiveBuffer[..<count]), on: self)
      noteSize(count)
      answerTime = nanoseconds(of: CLOCK_MONOTONIC)
      ends()
      return nil
    }
    if count == 0 { return .ioError }
    // Shorter than a header. The kernel sends none, and nobody could be answered.
    if count > 0 { return nil }
    switch errno {
    // ENOENT: the caller was interrupted before its request could be read.
    case EINTR, EAGAIN, ENOENT: return nil
    case let code: return Errno(rawValue: code)
    }
  }

  /// Milliseconds after which one in poll(2) looks whether it is needed.
  private static let patience: Int32 = 5000

  /// Waits for a request, but not for ever where there is something else to do.
  ///
  /// - Returns: whether to read.
  private func waitForRequest() -> Bool {
    // One that is not there (-1) is passed over.
    var files = (
      pollfd(fd: device, events: Int16(POLLIN), revents: 0), pollfd(fd: call, events: Int16(POLLIN), revents: 0)
    )
    let patience = large.haveMemory ? LargeMessages.patience : isSpare ? Self.patience : -1
    let count = withUnsafeMutableBytes(of: &files) {
      poll($0.assumingMemoryBound(to: pollfd.self).baseAddress, 2, patience)
    }
    if count < 0 { return false }
    if count == 0 {
      discardMemory()
      return !waitsInPoll
    }
    if !isAlwaysIdle { return true }
    if files.1.revents != 0 {
      var calls: UInt64 = 0
      _ = Glibc.read(call, &calls, MemoryLayout.size(ofValue: calls))
    }
    // The end is for everybody (POLLERR); what waits may be for the others, as they are to read now.
    return files.0.revents & ~Int16(POLLIN) != 0 || (files.0.revents != 0 && isWanted.load(ordering: .relaxed))
  }

  /// Looks at the size of the last request, or of what it read.
  @inline(__always)
  private func noteSize(_ count: Int) {
    var size = count
    if header.opcode == Opcode.read.rawValue {
      size = Int(receiveBuffer.loadUnaligned(fromByteOffset: MessageLayout.headerSize, as: fuse_read_in.self).size)
    }
    if large.note(size) { discardMemory() } else if large.haveMemory { waitsInPoll = true }
  }

  /// Gives back the memory of large messages. On its own thread, between two requests.
  func discardMemory() {
    waitsInPoll = isSpare || isAlwaysIdle
    if !large.haveMemory { return }
    large.reset()
    PageBuffer.discard(pages)
  }

  /// Calls it away from waiting for a request, if it does. Only for one that always has the idle policy.
  func callAway() {
    var once: UInt64 = 1
    _ = Glibc.write(call, &once, MemoryLayout.size(ofValue: once))
  }

  /// What is in the buffer: the last request.
  private var header: fuse_in_header { receiveBuffer.loadUnaligned(as: fuse_in_header.self) }

  /// Whether the last request was FORGET.
  var hasForgotten: Bool {
    let opcode = header.opcode
    return opcode == Opcode.forget.rawValue || opcode == Opcode.batchForget.rawValue
  }

  /// Whether somebody waits for the answer to the last request.
  var isWaitedFor: Bool {
    let opcode = header.opcode
    return !hasForgotten && opcode != Opcode.release.rawValue && opcode != Opcode.releasedir.rawValue
  }

  /// Whether something waits while this request was taken, which somebody waits for too. Asked of each; the system is asked
  /// only where the caller is another than before.
  func meetsOthers() -> Bool {
    let caller = header.pid
    if caller == lastCaller { return false }
    lastCaller = caller
    var file = pollfd(fd: device, events: Int16(POLLIN), revents: 0)
    return poll(&file, 1, 0) > 0
  }

  // MARK: - The caller's processor

  /// Goes to the processor of the last request's caller, if it looks as if that were another one.
  ///
  /// - Parameter isFree: whether no other reader is there, and this one may be.
  func followCaller(_ thread: ServingThread, isFree: (Int32) -> Bool) {
    let caller = header.pid
    // The kernel's own.
    if caller == 0 || !pace.takesRequest(after: pause) { return }
    let home = thread.home.load(ordering: .relaxed)
    let processor = place.processor(of: caller) ?? home
    let moves = processor != home && isFree(processor) && spool_run_on_processor(processor) == 0
    if moves { thread.home.store(processor, ordering: .relaxed) }
    pace.looked(hasMoved: moves)
  }

  /// Runs anywhere again.
  func stayAnywhere(_ thread: ServingThread) {
    pace.begin()
    if thread.home.load(ordering: .relaxed) >= 0 { thread.leaveHome(0) }
  }

  override func send(_ parts: UnsafePointer<iovec>, _ count: Int32) -> Int32 {
    while Glibc.writev(device, parts, count) < 0 {
      if errno != EINTR { return errno }
    }
    return 0
  }
}
