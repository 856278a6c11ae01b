internal import CFuse
internal import CSpoolSystem
internal import SystemPackage

/// The answer to one request. Dropped unanswered, it answers EIO, so that no caller waits for ever.
struct Reply: ~Copyable {
  private enum Target {
    case libfuse(fuse_req_t)
    /// A request that libfuse has not seen, by its number.
    case raw(UInt64)
  }

  private let target: Target

  init(_ handle: fuse_req_t) { target = .libfuse(handle) }

  init(unique: UInt64) { target = .raw(unique) }

  deinit { _ = Self.send(target, .ioError) }

  consuming func error(_ error: Errno) {
    _ = Self.send(target, error)
    discard self
  }

  consuming func success() {
    _ = Self.send(target, nil)
    discard self
  }

  /// No answer is wanted.
  consuming func none() {
    if case .libfuse(let handle) = target { fuse_reply_none(handle) }
    discard self
  }

  /// - Returns: whether it arrived. It does not when the caller was killed in the meantime.
  @discardableResult
  consuming func bytes(_ bytes: UnsafeRawBufferPointer) -> Bool {
    let code = Self.send(target, nil, bytes)
    discard self
    return code == 0
  }

  consuming func bytes(of text: FileName) {
    let target = target
    _ = text.withBytes { Self.send(target, nil, $0) }
    discard self
  }

  consuming func bytes(of bytes: [UInt8]) {
    let target = target
    _ = bytes.withUnsafeBytes { Self.send(target, nil, $0) }
    discard self
  }

  /// - Returns: whether it arrived.
  @discardableResult
  consuming func value<Value: BitwiseCopyable>(_ value: Value) -> Bool {
    let target = target
    let code = withUnsafeBytes(of: value) { Self.send(target, nil, $0) }
    discard self
    return code == 0
  }

  private static func send(
    _ target: Target, _ error: Errno?, _ body: UnsafeRawBufferPointer = UnsafeRawBufferPointer(start: nil, count: 0)
  ) -> Int32 {
    switch target {
    case .libfuse(let handle):
      if let error { return fuse_reply_err(handle, error.rawValue) }
      if body.isEmpty { return fuse_reply_err(handle, 0) }
      return fuse_reply_buf(handle, body.baseAddress!.assumingMemoryBound(to: CChar.self), body.count)
    case .raw(let unique):
      return sendRaw(unique, error, body)
    }
  }

  private static func sendRaw(_ unique: UInt64, _ error: Errno?, _ body: UnsafeRawBufferPointer) -> Int32 {
    let size = MemoryLayout<fuse_out_header>.size
    var header = fuse_out_header(len: UInt32(size + body.count), error: -(error?.rawValue ?? 0), unique: unique)
    return withUnsafeMutableBytes(of: &header) { header in
      let first = iovec(iov_base: header.baseAddress, iov_len: size)
      let second = iovec(iov_base: UnsafeMutableRawPointer(mutating: body.baseAddress), iov_len: body.count)
      return withUnsafeBytes(of: (first, second)) { parts in
        Worker.current!.send(parts.baseAddress!.assumingMemoryBound(to: iovec.self), body.isEmpty ? 1 : 2)
      }
    }
  }
}

// MARK: - Answers with attributes

/// How long the kernel may trust what it was told.
///
/// The tree is the only one that changes things, and tells the kernel when somebody in its process does: what the kernel
/// knows stays true for ever.
enum Validity {
  /// Seconds; ten years.
  static let always: UInt64 = 10 * 365 * 24 * 60 * 60

  /// Seconds for which the kernel may trust a name.
  static func ofName(of inode: Inode) -> UInt64 { inode.isSnapshot ? 0 : always }

  /// Seconds for which the kernel may trust attributes: none where it is to ask before each write(2) (`SpaceWatch`).
  @inline(__always)
  static func ofAttributes(of inode: Inode, in session: Session) -> UInt64 {
    inode.isSnapshot || session.space.asksBeforeWrites && inode.kind == .regular ? 0 : always
  }
}

extension Reply {
  /// Answers with an entry, counting the lookup that the kernel counts.
  consuming func entry(_ inode: Inode, _ request: Request) {
    let files = request.files
    // Before the answer is sent: another thread may see the FORGET at once.
    files.remember(inode)
    if !value(fuse_entry_out(inode, request.session)) { files.forget(inode.id, 1) }
  }

  /// Answers that there is no such entry, and that there will be none until the kernel is told.
  consuming func absentEntry() {
    var entry = fuse_entry_out()
    entry.entry_valid = Validity.always
    value(entry)
  }

  /// Answers CREATE or TMPFILE.
  ///
  /// - Returns: whether it arrived; otherwise nothing is open.
  consuming func created(_ inode: Inode, openFlags: UInt32, _ request: Request) -> Bool {
    let files = request.files
    files.remember(inode)
    let answer = (fuse_entry_out(inode, request.session), fuse_open_out(fh: 0, open_flags: openFlags, padding: 0))
    if value(answer) { return true }
    files.forget(inode.id, 1)
    return false
  }

  consuming func attributes(of inode: Inode, _ session: Session) {
    attributes(session.files.attributes(of: inode), of: inode, session)
  }

  consuming func attributes(_ attributes: Attributes, of inode: Inode, _ session: Session) {
    var answer = fuse_attr_out()
    answer.attr_valid = Validity.ofAttributes(of: inode, in: session)
    answer.attr = fuse_attr(attributes)
    value(answer)
  }

  /// Answers STATX.
  consuming func extendedStatus(of inode: Inode, _ session: Session) {
    var answer = spool_statx_out(session.files.attributes(of: inode))
    answer.attr_valid = Validity.ofAttributes(of: inode, in: session)
    value(answer)
  }
}

extension fuse_entry_out {
  init(_ inode: Inode, _ session: Session) {
    self.init()
    nodeid = inode.id
    entry_valid = Validity.ofName(of: inode)
    attr_valid = Validity.ofAttributes(of: inode, in: session)
    attr = fuse_attr(session.files.attributes(of: inode))
  }
}

extension fuse_attr {
  init(_ attributes: Attributes) {
    self.init()
    ino = attributes.inode
    size = UInt64(attributes.size)
    blocks = UInt64(attributes.blocks)
    atime = UInt64(bitPattern: attributes.accessed.seconds)
    mtime = UInt64(bitPattern: attributes.modified.seconds)
    ctime = UInt64(bitPattern: attributes.changed.seconds)
    atimensec = attributes.accessed.nanoseconds
    mtimensec = attributes.modified.nanoseconds
    ctimensec = attributes.changed.nanoseconds
    mode = attributes.mode
    nlink = attributes.linkCount
    uid = attributes.user
    gid = attributes.group
    rdev = UInt32(truncatingIfNeeded: attributes.device)
    blksize = UInt32(FileSystemStatistics.blockSize)
  }
}

extension spool_statx_out {
  init(_ attributes: Attributes) {
    self.init()
    mask = spool_statx_mask
    blksize = UInt32(FileSystemStatistics.blockSize)
    nlink = attributes.linkCount
    uid = attributes.user
    gid = attributes.group
    mode = UInt16(truncatingIfNeeded: attributes.mode)
    ino = attributes.inode
    size = UInt64(attributes.size)
    blocks = UInt64(attributes.blocks)
    atime = spool_statx_time(attributes.accessed)
    btime = spool_statx_time(attributes.created)
    ctime = spool_statx_time(attributes.changed)
    mtime = spool_statx_time(attributes.modified)
    // As the kernel's new_decode_dev() takes the number apart that MKNOD brought.
    let device = UInt32(truncatingIfNeeded: attributes.device)
    rdev_major = (device & 0xfff00) >> 8
    rdev_minor = device & 0xff | (device >> 12) & 0xfff00
  }
}

extension spool_statx_time {
  init(_ time: Timestamp) { self.init(seconds: time.seconds, nanoseconds: time.nanoseconds, reserved: 0) }
}
