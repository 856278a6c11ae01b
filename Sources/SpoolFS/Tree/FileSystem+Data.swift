internal import CSpoolSystem
import SpoolStorage
internal import SystemPackage

// The bytes of regular files. The inode's lock is held only to find the content and to set times, never while bytes are
// copied: `FileContent` has locks of its own.

extension FileSystem {
  /// The content of a regular file, nil while it has never had any.
  ///
  /// - Throws: EISDIR, EINVAL for other kinds; EIO where the bytes to be read are lost.
  private func content(of inode: Inode, reading count: Int = 0, at offset: Int64 = 0) throws(Errno) -> FileContent? {
    try inode.lock.withLock { () throws(Errno) in
      try inode.checkRefusalsLocked(offset, count)
      switch inode.payload {
      case .regular(let content): return content
      case .directory: throw .isDirectory
      default: throw .invalidArgument
      }
    }
  }

  /// The content of a regular file, made where there is none yet.
  func makeContent(of inode: Inode) throws(Errno) -> FileContent {
    try inode.lock.withLock { () throws(Errno) in
      switch inode.payload {
      case .regular(let content?): return content
      case .regular(nil):
        try headroom.take(inode.id)
        let content = FileContent(store: store)
        inode.payload = .regular(content)
        return content
      case .directory: throw .isDirectory
      case .snapshot: throw .notPermitted
      default: throw .invalidArgument
      }
    }
  }

  /// Gives a new file a threshold of its own.
  func setThreshold(_ threshold: SpoolConfiguration.Threshold, of inode: Inode) {
    inode.lock.withLock {
      // Somebody may have found the name and written already; the file then has the store's.
      if case .regular(nil) = inode.payload {
        inode.payload = .regular(FileContent(store: store, threshold: threshold))
      }
    }
  }

  /// Moves a regular file to disk.
  ///
  /// - Throws: EISDIR, EINVAL for other kinds; ENOSPC, EMFILE and others, with the file as it was.
  func rollOver(_ inode: Inode) throws(Errno) {
    try makeContent(of: inode).rollOver()
  }

  /// Whether `synchronize` may have to wait for a disk.
  func mayWaitToSynchronize(_ inode: Inode) -> Bool { ((try? content(of: inode)) ?? nil)?.isRolledOver ?? false }

  /// fsync(2): waits until the disk has what was written to a regular file that is there. Others are always as they should be.
  ///
  /// - Throws: what the disk refuses bytes with: ENOSPC, EIO and others.
  func synchronize(_ inode: Inode) throws(Errno) {
    if inode.kind == .regular, !inode.isSnapshot { try content(of: inode)?.synchronize() }
  }

  /// pread(2).
  ///
  /// - Returns: the number of bytes read: less than asked for at the end of the file.
  /// - Throws: EISDIR, EINVAL, EIO also where bytes were refused (`Refusals`).
  func read(
    _ inode: Inode, into buffer: UnsafeMutableRawBufferPointer, at offset: Int64, _ accessTimes: AccessTimes = .relative
  ) throws(Errno) -> Int {
    if inode.isSnapshot { return copy(snapshot(inode), into: buffer, at: offset) }
    guard let content = try content(of: inode, reading: buffer.count, at: offset) else { return 0 }
    let count = try content.read(into: buffer, at: offset)
    if accessTimes != .never { inode.lock.withLock { inode.markAccessedLocked(accessTimes) } }
    return count
  }

  /// pwrite(2), all or nothing.
  ///
  /// - Parameter dropsPrivileges: whether the kernel leaves it to us to take the set-user and set-group bits away.
  /// - Throws: ENOSPC, EFBIG, EISDIR, EINVAL, EIO.
  func write(
    _ inode: Inode, _ bytes: UnsafeRawBufferPointer, at offset: Int64, dropsPrivileges: Bool = false, by caller: Caller
  ) throws(Errno) -> Int {
    let content = try makeContent(of: inode)
    if bytes.isEmpty { return 0 }
    let count = try waitingForReclaim(for: inode) { () throws(Errno) in try content.write(bytes, at: offset) }
    noteChange(of: inode, dropsPrivileges: dropsPrivileges, at: offset, count: count, by: caller)
    return count
  }

  /// write(2) with O_APPEND, all or nothing.
  ///
  /// - Returns: the offset that the bytes went to.
  func append(
    to inode: Inode, _ bytes: UnsafeRawBufferPointer, dropsPrivileges: Bool = false, by caller: Caller
  ) throws(Errno) -> Int64 {
    let content = try makeContent(of: inode)
    if bytes.isEmpty { return content.size }
    let offset = try waitingForReclaim(for: inode) { () throws(Errno) in try content.append(bytes) }
    noteChange(of: inode, dropsPrivileges: dropsPrivileges, at: offset, count: bytes.count, by: caller)
    return offset
  }

  /// truncate(2) without the times.
  ///
  /// - Returns: whether truncate(2) moves the times: where the size changed, or on tmpfs where there are pages to look at.
  func resize(_ inode: Inode, to size: Int64) throws(Errno) -> Bool {
    if size < 0 { throw .invalidArgument }
    if size == 0, try content(of: inode) == nil {
      inode.lock.withLock { inode.replacedLocked(0..<Int64.max) }
      return false
    }
    let content = try makeContent(of: inode)
    let old = content.size
    try content.resize(to: size)
    inode.lock.withLock { inode.replacedLocked(size..<Int64.max) }
    return old != size || content.allocatedBytes > 0
  }

  /// fallocate(2): plain, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, and beyond tmpfs FALLOC_FL_ZERO_RANGE.
  ///
  /// - Throws: EOPNOTSUPP for other modes, EINVAL, EFBIG, ENOSPC.
  func allocate(_ inode: Inode, mode: Int32, at offset: Int64, count: Int64, by caller: Caller) throws(Errno) {
    if offset < 0 || count <= 0 { throw .invalidArgument }
    if offset > .max - count { throw .fileTooLarge }
    if inode.kind != .regular { throw inode.kind == .directory ? .isDirectory : .operationNotSupportedByDevice }
    let content = try makeContent(of: inode)
    let keepingSize = mode & FALLOC_FL_KEEP_SIZE != 0
    switch mode & ~FALLOC_FL_KEEP_SIZE {
    case 0:
      try waitingForReclaim(for: inode) { () throws(Errno) in
        try content.allocate(offset: offset, count: count, keepingSize: keepingSize)
      }
    case FALLOC_FL_PUNCH_HOLE where keepingSize: try content.punchHole(offset: offset, count: count)
    case FALLOC_FL_ZERO_RANGE:
      try waitingForReclaim(for: inode) { () throws(Errno) in
        try content.zeroRange(offset: offset, count: count, keepingSize: keepingSize)
      }
    default: throw .notSupportedOnSocket
    }
    let replaces = mode & ~FALLOC_FL_KEEP_SIZE != 0
    noteChange(of: inode, dropsPrivileges: false, at: offset, count: Int(count), replaces: replaces, by: caller)
  }

  /// lseek(2) with SEEK_DATA or SEEK_HOLE.
  ///
  /// - Throws: ENXIO past the end or where no data follows.
  func seek(_ inode: Inode, from offset: Int64, whence: Int32) throws(Errno) -> Int64 {
    if whence != SEEK_DATA, whence != SEEK_HOLE { throw .invalidArgument }
    if inode.isSnapshot {
      let bytes = snapshot(inode)
      guard (0..<Int64(bytes.count)).contains(offset) else { throw .noSuchAddressOrDevice }
      return whence == SEEK_DATA ? offset : Int64(bytes.count)
    }
    let lost = inode.lock.withLock { inode.refusals?.ranges }
    let content = try content(of: inode)
    if let lost { return try seek(content, from: offset, whence: whence, besides: lost) }
    guard let content else { throw .noSuchAddressOrDevice }
    return whence == SEEK_DATA ? try content.seekData(from: offset) : try content.seekHole(from: offset)
  }

  /// Bytes copied at once: callers ask again for the rest, and a worker is not kept for minutes.
  static let largestCopy = 64 << 20

  /// copy_file_range(2), without the bytes passing through the caller.
  ///
  /// - Returns: the number of bytes copied: less than asked for at the end of the source, where
  ///   space ends, and beyond 64 MiB.
  /// - Throws: ENOSPC where not even the first part could be written; EISDIR, EINVAL.
  func copyRange(
    from source: Inode, at sourceOffset: Int64, to target: Inode, at targetOffset: Int64, count: Int,
    _ accessTimes: AccessTimes = .relative, by caller: Caller
  ) throws(Errno) -> Int {
    guard let from = try content(of: source) else { return 0 }
    let to = try makeContent(of: target)
    if sourceOffset < 0 || targetOffset < 0 || count < 0 { throw .invalidArgument }
    let count = min(count, Self.largestCopy)
    let part = 256 * 1024
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: min(part, count), alignment: 4096)
    defer { buffer.deallocate() }
    var copied = 0
    var failure: Errno?
    while copied < count, failure == nil {
      let wanted = UnsafeMutableRawBufferPointer(rebasing: buffer.prefix(count - copied))
      do throws(Errno) {
        try checkRefusals(of: source, sourceOffset + Int64(copied), wanted.count)
        let got = try from.read(into: wanted, at: sourceOffset + Int64(copied))
        if got == 0 { break }
        let bytes = UnsafeRawBufferPointer(rebasing: wanted.prefix(got))
        let place = targetOffset + Int64(copied)
        try waitingForReclaim(for: target) { () throws(Errno) in _ = try to.write(bytes, at: place) }
        copied += got
      } catch {
        failure = error
      }
    }
    if let failure, copied == 0 { throw failure }
    if copied > 0 {
      source.lock.withLock { source.markAccessedLocked(accessTimes) }
      noteChange(of: target, dropsPrivileges: false, at: targetOffset, count: copied, by: caller)
    }
    return copied
  }

  private func noteChange(
    of inode: Inode, dropsPrivileges: Bool, at offset: Int64, count: Int, replaces: Bool = true, by caller: Caller
  ) {
    let stamps = !inode.isStampedByKernel(for: caller)
    let dropsPrivileges = dropsPrivileges || !caller.passesChecks
    inode.lock.withLock {
      if stamps { inode.touchLocked() }
      if replaces { inode.replacedLocked(offset..<offset + Int64(count)) }
      if dropsPrivileges { inode.dropPrivilegeBitsLocked(by: caller) }
    }
    announceAttributes(of: inode, by: caller)
    announceContents(of: inode, at: offset, count: Int64(count), by: caller)
  }

  private func snapshot(_ inode: Inode) -> [UInt8] {
    inode.lock.withLock {
      guard case .snapshot(let bytes) = inode.payload else { return [] }
      return bytes
    }
  }

  private func copy(_ bytes: [UInt8], into buffer: UnsafeMutableRawBufferPointer, at offset: Int64) -> Int {
    guard offset >= 0, offset < Int64(bytes.count) else { return 0 }
    let part = bytes[Int(offset)...].prefix(buffer.count)
    buffer.copyBytes(from: part)
    return part.count
  }
}
