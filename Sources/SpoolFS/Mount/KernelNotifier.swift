internal import CFuse
internal import Glibc
import SpoolStorage
internal import SystemPackage

/// Tells the kernel to forget what it has cached, and whoever reads the log of disks that refuse.
///
/// Changes made in this process are announced by the thread that made them, before its call returns. Changes that follow
/// from a request are announced later, by a thread of their own: the kernel takes the directory's lock for an
/// announcement, and whoever waits for the request may be holding it.
final class KernelNotifier: ChangeObserver, @unchecked Sendable {
  // @unchecked: `queue` and `isStopped` are protected by `queueLock`; `isConnected` by `connection`.

  /// Something for the thread to announce.
  enum Announcement {
    /// The last descriptor of a file that vanishes with it.
    case closed(Inode)
    /// All bytes of a file.
    case contents(of: UInt64)
    /// Bytes that are lost: the kernel is not to show them any longer.
    case lost(Range<Int64>, of: UInt64)
    /// The attributes of all regular files.
    case attributesOfAll
    /// What the kernel may hold beside what it does hold.
    case writeBack
    /// A request that needs the kernel to write back first.
    case deferred(DeferredRequest)
    /// A search for data or holes, answered when the kernel has written back what it holds of the file.
    case seek(UnansweredSeek)
    /// The disk refused bytes of the file with this content.
    case refused(ObjectIdentifier, Errno)
  }

  /// A request that waits for its answer.
  final class UnansweredSeek {
    let inode: Inode
    let offset: Int64
    let whence: Int32
    /// An answer goes the way its request came.
    private let worker: Worker
    private var reply: Reply?

    init(_ reply: consuming Reply, to worker: Worker, _ inode: Inode, from offset: Int64, whence: Int32) {
      self.reply = consume reply
      self.worker = worker
      self.inode = inode
      self.offset = offset
      self.whence = whence
    }

    func answer(from files: FileSystem) {
      worker.withThread { reply.take()?.seek(files, inode, from: offset, whence: whence) }
    }
  }

  private unowned let session: Session
  private let handle: OpaquePointer

  /// Held shared while libfuse's session is used from outside its workers.
  private let connection = SharedLock()
  private var isConnected = true

  private let queueLock = Lock()
  private let queueChanged = EventCount()
  private var queue: [Announcement] = []
  private var isStopped = false

  /// The thread's own.
  private var refusals = RefusalLog()

  init(_ session: Session, _ handle: OpaquePointer) {
    self.session = session
    self.handle = handle
  }

  /// Starts the thread for later announcements.
  func start() throws(Errno) {
    // It holds the session, which what it has in hand may need to its end.
    try SystemThread.start(named: "spoolfs/notify") { [self, session] in
      while let batch = waitForMore() { batch.forEach(announce) }
      withExtendedLifetime(session) {}
    }
  }

  /// Ends the thread; later calls do nothing. The session may be closed then.
  func stop() {
    let left = queueLock.withLock {
      isStopped = true
      defer { queue = [] }
      return queue
    }
    // Requests among them answer EIO, which nobody hears any more.
    _ = consume left
    queueChanged.signal()
    connection.withExclusiveLock { isConnected = false }
  }

  // MARK: - At once, from the thread of the change

  func entryChanged(_ name: UnsafeRawBufferPointer, in directory: UInt64) {
    whileConnected(knows: directory) {
      withTerminatedName(name) { _ = fuse_lowlevel_notify_inval_entry(handle, directory, $0, name.count) }
    }
  }

  func attributesChanged(of inode: UInt64) {
    // A negative offset leaves the contents alone.
    whileConnected(knows: inode) { _ = fuse_lowlevel_notify_inval_inode(handle, inode, -1, 0) }
  }

  func contentsChanged(of inode: UInt64, at offset: Int64, count: Int64) {
    whileConnected(knows: inode) { _ = fuse_lowlevel_notify_inval_inode(handle, inode, off_t(offset), off_t(count)) }
  }

  // MARK: - Later, from the notifier's thread

  func announceLater(_ announcement: Announcement) {
    queueLock.withLock { if !isStopped { queue.append(announcement) } }
    queueChanged.signal()
  }

  func forgetContentsLater(of inode: UInt64) { announceLater(.contents(of: inode)) }

  /// Where the kernel holds data that the tree has not seen, holes are known only after that has come. A request's own
  /// thread cannot wait for it: it may be the one that has to take it.
  func seekLater(_ reply: consuming Reply, to worker: Worker, _ inode: Inode, from offset: Int64, whence: Int32) {
    announceLater(.seek(UnansweredSeek(reply, to: worker, inode, from: offset, whence: whence)))
  }

  func answerLater(_ request: DeferredRequest) { announceLater(.deferred(request)) }

  /// - Returns: what there is to announce; nil at the end.
  private func waitForMore() -> [Announcement]? {
    while true {
      let seen = queueChanged.current()
      let (batch, isStopped) = queueLock.withLock {
        defer { queue = [] }
        return (queue, self.isStopped)
      }
      if isStopped { return nil }
      if !batch.isEmpty { return batch }
      queueChanged.wait(after: seen)
    }
  }

  private func announce(_ announcement: Announcement) {
    switch announcement {
    case .contents(let inode):
      contentsChanged(of: inode, at: 0, count: 0)
    case .lost(let bytes, let inode):
      contentsChanged(of: inode, at: bytes.lowerBound, count: Int64(bytes.count))
    case .attributesOfAll:
      for inode in session.files.table.regularFiles() { attributesChanged(of: inode) }
    case .writeBack:
      session.writeBack()
    case .deferred(let request):
      request.answer()
    case .closed(let inode):
      removeClosed(inode)
    case .seek(let seek):
      // Forgetting pages writes them back first.
      contentsChanged(of: seek.inode.id, at: 0, count: 0)
      if let (files, _) = filesWhileConnected() { seek.answer(from: files) }
    case .refused(let content, let error):
      if let (files, _) = filesWhileConnected() { refusals.tell(content, error, files) }
    }
  }

  /// Removes the names of a file that nobody has open, first from the kernel's caches, then from the tree.
  ///
  /// In this order an open(2) by name can hardly meet a file that is gone: when the name goes from the tree, the kernel
  /// has not heard of it since it was told to forget it. Whoever looks a name up all the time delays its end a little.
  private func removeClosed(_ inode: Inode) {
    for attempt in 0..<Self.attempts {
      guard let (files, openFiles) = filesWhileConnected() else { return }
      let lookups = files.lookups(of: inode)
      for name in inode.lock.withLock({ inode.names }) {
        guard let directory = name.directory else { continue }
        name.name.withBytes { entryChanged($0, in: directory.id) }
      }
      switch openFiles.take(inode, lookups: attempt == Self.attempts - 1 ? nil : lookups, in: files) {
      case .isOpen: return
      case .wasLookedUp: usleep(Self.pause)
      case .taken:
        for entry in files.closed(inode) { announceRemoval(entry.name, of: inode, in: entry.directory) }
        return
      }
    }
  }

  /// How often a name is removed from the kernel's caches before it goes although the kernel asks for it again.
  private static let attempts = 10
  /// Microseconds between two of them.
  private static let pause: UInt32 = 500

  private func announceRemoval(_ name: FileName, of inode: Inode, in directory: Inode) {
    name.withBytes { name in
      whileConnected(knows: directory.id) {
        withTerminatedName(name) {
          _ = fuse_lowlevel_notify_delete(handle, directory.id, inode.id, $0, name.count)
        }
      }
    }
    // The directory's own times, and its listing where the kernel knew no such entry.
    contentsChanged(of: directory.id, at: 0, count: 0)
    attributesChanged(of: inode.id)
  }

  /// Held for the call, so that the session's end need not wait for the pauses above.
  private func filesWhileConnected() -> (FileSystem, OpenFiles)? {
    connection.withSharedLock { isConnected ? (session.files, session.openFiles) : nil }
  }

  // MARK: - Helpers

  /// Runs `body` unless the connection has ended, or the kernel does not know the inode anyway.
  private func whileConnected(knows inode: UInt64, _ body: () -> Void) {
    connection.withSharedLock {
      if isConnected, session.files.inode(inode) != nil { body() }
    }
  }

  /// libfuse sends the NUL along.
  private func withTerminatedName(_ name: UnsafeRawBufferPointer, _ body: (UnsafePointer<CChar>) -> Void) {
    withUnsafeTemporaryAllocation(of: CChar.self, capacity: name.count + 1) { copy in
      let bytes = UnsafeMutableRawBufferPointer(copy)
      bytes.copyMemory(from: name)
      bytes[name.count] = 0
      body(copy.baseAddress!)
    }
  }
}

extension FileSystem {
  /// How often the kernel has been told of `inode`, less what it has given back.
  func lookups(of inode: Inode) -> UInt64 { table.lookups(of: inode) }

  /// The kernel has gone, and what it knew with it. The root and the status directory stay.
  func forgetAll() {
    table.removeAll()
    table.remember(root)
    table.remember(statusDirectory)
  }
}
