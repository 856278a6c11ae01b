internal import CFuse
internal import CSpoolSystem
internal import Glibc
import SpoolStorage
internal import Synchronization
internal import SystemPackage

/// Memory that the kernel writes one request to and takes its answer from.
///
/// The kernel delivers a message in three parts. The first two are small: they are copied to just before the third, so
/// that libfuse sees one message and the data of a WRITE stays where the kernel put it.
final class RingEntry: Worker, @unchecked Sendable {
  // @unchecked: as for its superclass. While the answer is awaited from another thread, that thread has the entry.

  /// `struct fuse_uring_req_header`: kernel ABI.
  private enum Layout {
    static let argument = 128
    static let argumentCapacity = 128
    static let commitID = 264
    static let payloadSize = 272
  }

  private enum State {
    static let unanswered: UInt32 = 0
    static let answered: UInt32 = 1
    static let awaited: UInt32 = 2
  }

  private let queue: RingQueue
  private let pages: UnsafeMutableRawBufferPointer
  private let headers: UnsafeMutableRawPointer
  /// Page-aligned, with a page in front for the message's small parts.
  private let payload: UnsafeMutableRawBufferPointer
  /// Headers and payload, as the kernel wants them when the entry is registered.
  let buffers: UnsafeMutablePointer<iovec>

  private var large = LargeMessages()

  private var isAnsweredLater = false
  private let state = Atomic<UInt32>(State.unanswered)
  private let stateChanged = EventCount()

  /// - Throws: ENOMEM where there is no memory for its messages.
  convenience init(_ queue: RingQueue, maximumWrite: Int) throws(Errno) {
    self.init(queue, try PageBuffer.allocate(2 * Int(getpagesize()) + maximumWrite))
  }

  private init(_ queue: RingQueue, _ pages: UnsafeMutableRawBufferPointer) {
    self.queue = queue
    self.pages = pages
    let page = Int(getpagesize())
    headers = pages.baseAddress!
    payload = UnsafeMutableRawBufferPointer(rebasing: pages[(page + page)...])
    buffers = .allocate(capacity: 2)
    buffers.initialize(to: iovec(iov_base: headers, iov_len: page))
    (buffers + 1).initialize(to: iovec(iov_base: payload.baseAddress, iov_len: payload.count))
    // What a READ answers is read to where the kernel takes it from: its request has no data there.
    super.init(replyBuffer: payload)
  }

  deinit {
    buffers.deallocate()
    PageBuffer.deallocate(pages)
  }

  /// What the answer is committed under.
  var commitID: UInt64 { headers.load(fromByteOffset: Layout.commitID, as: UInt64.self) }

  /// The number of the file or directory that the request is for.
  var file: UInt64 { headers.load(as: fuse_in_header.self).nodeid }

  /// A READ of a file that is not open with O_DIRECT.
  struct Read {
    /// The number of the file.
    let file: UInt64
    let offset: Int64
    let count: Int
  }

  /// What is to be read; nil where the request is another.
  var read: Read? {
    let header = headers.load(as: fuse_in_header.self)
    guard header.opcode == Opcode.read.rawValue else { return nil }
    let arguments = headers.load(fromByteOffset: Layout.argument, as: fuse_read_in.self)
    if arguments.flags & UInt32(spool_o_direct) != 0 { return nil }
    return Read(file: header.nodeid, offset: Int64(bitPattern: arguments.offset), count: Int(arguments.size))
  }

  // MARK: - The server's thread

  /// Answers the request that the kernel has put here. On return the answer is there.
  func serve(_ session: Session) {
    state.store(State.unanswered, ordering: .relaxed)
    let header = headers.load(as: fuse_in_header.self)
    let payloadSize = Int(headers.load(fromByteOffset: Layout.payloadSize, as: UInt32.self))
    let argumentSize = Int(header.len) - MessageLayout.headerSize - payloadSize
    guard (0...Layout.argumentCapacity).contains(argumentSize), payloadSize <= payload.count else {
      return setAnswer(fuse_out_header(len: 0, error: -EIO, unique: header.unique), payloadSize: 0)
    }
    let start = payload.baseAddress! - argumentSize - MessageLayout.headerSize
    start.copyMemory(from: headers, byteCount: MessageLayout.headerSize)
    (start + MessageLayout.headerSize).copyMemory(from: headers + Layout.argument, byteCount: argumentSize)
    session.process(UnsafeMutableRawBufferPointer(start: start, count: Int(header.len)), on: self)
    if isAnsweredLater {
      isAnsweredLater = false
      waitForAnswer()
      queue.serverHasWaited()
    } else if state.load(ordering: .relaxed) == State.unanswered {
      // A request that wants no answer. The kernel wants the entry back all the same.
      setAnswer(fuse_out_header(len: 0, error: 0, unique: header.unique), payloadSize: 0)
    }
    // Never at once: the kernel has yet to take the answer.
    large.note(max(payloadSize, Int(headers.load(fromByteOffset: Layout.payloadSize, as: UInt32.self))))
  }

  /// Milliseconds without a request after which there is something to do (`discardMemory`); 0 for never.
  var patience: Int32 { large.haveMemory ? LargeMessages.patience : 0 }

  /// Gives back the memory of large messages. On the server's thread, while the kernel has nothing to do with the entry: it
  /// puts a request there on this thread alone.
  func discardMemory() {
    if !large.haveMemory { return }
    large.reset()
    PageBuffer.discard(payload)
  }

  override func willAnswerLater() throws(Errno) {
    try queue.serverWillWait(on: file)
    isAnsweredLater = true
  }

  private func waitForAnswer() {
    guard
      state.compareExchange(
        expected: State.unanswered, desired: State.awaited, ordering: .acquiringAndReleasing
      ).exchanged
    else { return }
    while true {
      let seen = stateChanged.current()
      if state.load(ordering: .acquiring) == State.answered { return }
      stateChanged.wait(after: seen)
    }
  }

  // MARK: - The thread that answers: the server's, or the one it waits for

  override func send(_ parts: UnsafePointer<iovec>, _ count: Int32) -> Int32 {
    var header = parts[0].iov_base.loadUnaligned(as: fuse_out_header.self)
    var size = 0
    for index in 1..<max(1, Int(count)) {
      let part = parts[index]
      guard size + part.iov_len <= payload.count else {
        (header.error, size) = (-EIO, 0)
        break
      }
      let target = payload.baseAddress! + size
      if part.iov_len > 0, part.iov_base != target { target.copyMemory(from: part.iov_base, byteCount: part.iov_len) }
      size += part.iov_len
    }
    setAnswer(header, payloadSize: size)
    return 0
  }

  private func setAnswer(_ header: fuse_out_header, payloadSize: Int) {
    headers.storeBytes(of: header, as: fuse_out_header.self)
    headers.storeBytes(of: UInt32(payloadSize), toByteOffset: Layout.payloadSize, as: UInt32.self)
    let before = state.exchange(State.answered, ordering: .acquiringAndReleasing)
    if before == State.awaited { stateChanged.signal() }
  }
}
