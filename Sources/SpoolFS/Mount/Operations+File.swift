internal import CFuse
internal import CSpoolSystem
internal import Glibc
import SpoolStorage
internal import SystemPackage

// The bytes of files, and their opening and closing.

// MARK: - Opening

extension Reply {
  /// Answers CREATE or TMPFILE for `inode`, which counts as an open.
  consuming func open(_ inode: Inode, _ request: Request) {
    let session = request.session
    let counts = session.files.configuration.lifetime == .close
    // Before the answer: the RELEASE may be served by another worker first.
    if counts { session.openFiles.opened(inode, in: session.files) }
    let arrived = created(inode, openFlags: session.negotiation.openFlags, request)
    if !arrived, counts { session.openFiles.closed(inode, in: session) }
  }
}

/// CREATE comes only where OPEN does: see `serveMknod`.
func serveCreate(
  _ handle: fuse_req_t?, _ parent: fuse_ino_t, _ name: UnsafePointer<CChar>?, _ mode: mode_t,
  _ file: UnsafeMutablePointer<fuse_file_info>?
) {
  let request = Request(handle!)
  let reply = Reply(handle!)
  let flags = file!.pointee.flags
  do throws(Errno) {
    guard request.session.negotiation.servesOpen(request.files.configuration.lifetime) else { throw .noFunction }
    let inode = try request.files.create(
      nameBytes(name!), in: request.inode(parent), mode: UInt32(mode), exclusive: true, by: request.caller)
    reply.open(inode, request)
  } catch .fileExists where flags & O_EXCL == 0 {
    // Somebody in this process was first. The kernel, which knew no such file, looks again and checks access itself.
    reply.error(.staleNFSFileHandle)
  } catch {
    reply.error(error)
  }
}

/// OPEN comes only where `Negotiation.servesOpen` says so; the first answer decides for the life of the mount.
func serveOpen(_ handle: fuse_req_t?, _ id: fuse_ino_t, _ file: UnsafeMutablePointer<fuse_file_info>?) {
  let request = Request(handle!)
  let reply = Reply(handle!)
  let session = request.session
  do throws(Errno) {
    let lifetime = session.files.configuration.lifetime
    guard session.negotiation.servesOpen(lifetime) else { throw .noFunction }
    let inode = try request.inode(id)
    let counts = lifetime == .close && inode.kind == .regular
    if counts { try session.openFiles.reopened(inode, in: session.files) }
    let answer = fuse_open_out(fh: 0, open_flags: session.negotiation.openFlags, padding: 0)
    if !reply.value(answer), counts { session.openFiles.closed(inode, in: session) }
  } catch {
    reply.error(error)
  }
}

extension Session {
  func serveTmpfile(_ message: Message) {
    let reply = message.reply
    let request = Request(message, self)
    do throws(Errno) {
      let mode = try message.argument(fuse_create_in.self).mode
      let inode = try files.createUnnamed(in: request.inode(message.node), mode: mode, by: request.caller)
      reply.open(inode, request)
    } catch {
      reply.error(error)
    }
  }

  /// The kernel also sends RELEASE for a file without a name where OPEN is not served, some versions for each: there is
  /// nothing to find then.
  func serveRelease(_ message: Message) {
    if files.configuration.lifetime == .close, let inode = files.inode(message.node) {
      openFiles.closed(inode, in: self)
    }
    message.reply.success()
  }
}

// MARK: - Data

extension Session {
  /// Read into the worker's buffer and sent from there.
  func serveRead(_ message: Message) {
    let reply = message.reply
    let request = Request(message, self)
    do throws(Errno) {
      let arguments = try message.argument(fuse_read_in.self)
      let buffer = UnsafeMutableRawBufferPointer(rebasing: request.worker.replyBuffer.prefix(Int(arguments.size)))
      let inode = try request.inode(message.node)
      if space.isShort { try checkFault(request, inode, arguments, from: message.header.pid) }
      let count = try files.read(
        inode, into: buffer, at: Int64(bitPattern: arguments.offset), accessTimes(of: arguments))
      reply.bytes(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
    } catch {
      reply.error(error)
    }
  }

  private func accessTimes(of read: fuse_read_in) -> AccessTimes {
    let flags = Int32(bitPattern: read.flags)
    // Nobody reads from a handle that is for writing alone: the kernel fills a page of which a write changes a part.
    return flags & spool_o_no_access_time != 0 || flags & O_ACCMODE == O_WRONLY ? .never : accessTimes
  }

  func serveWrite(_ message: Message) {
    let reply = message.reply
    let request = Request(message, self)
    do throws(Errno) {
      let arguments = try message.argument(fuse_write_in.self)
      let data = try message.data(after: MemoryLayout<fuse_write_in>.size)
      guard data.count >= arguments.size else { throw .invalidArgument }
      let inode = try request.inode(message.node)
      try write(UnsafeRawBufferPointer(rebasing: data[..<Int(arguments.size)]), to: inode, arguments, request)
      reply.value(fuse_write_out(size: arguments.size, padding: 0))
    } catch {
      reply.error(error)
    }
  }

  private func write(
    _ bytes: UnsafeRawBufferPointer, to inode: Inode, _ arguments: fuse_write_in, _ request: Request
  ) throws(Errno) {
    // Direct writes have it whatever was agreed on.
    let dropsPrivileges = arguments.write_flags & UInt32(FUSE_WRITE_KILL_SUIDGID) != 0
    let mode = dropsPrivileges ? inode.lock.withLock { inode.mode } : 0
    let caller = dropsPrivileges ? request.caller(takingPrivilegesFrom: inode) : request.caller
    let isFromCache = arguments.write_flags & UInt32(FUSE_WRITE_CACHE) != 0
    let offset = Int64(bitPattern: arguments.offset)
    if !isFromCache, arguments.flags & UInt32(O_APPEND) != 0, appendsHere {
      try append(bytes, to: inode, expectedAt: offset, dropsPrivileges, caller)
    } else {
      if !isFromCache, space.asksBeforeWrites {
        try checkReservations(Self.range(offset, Int64(bytes.count)), of: inode)
      }
      do throws(Errno) {
        _ = try files.write(inode, bytes, at: offset, dropsPrivileges: dropsPrivileges, by: caller)
      } catch {
        if isFromCache { refuse(Self.range(offset, Int64(bytes.count)), of: inode, because: error) }
        throw error
      }
      if space.isShort { space.written(Self.range(offset, Int64(bytes.count)), of: inode.id) }
    }
    spaceWasTaken()
    if dropsPrivileges { request.privilegesWereDropped(from: inode, mode: mode) }
  }

  /// The kernel appends at the size it knows, which is old where somebody in this process has made the file longer since.
  private func append(
    _ bytes: UnsafeRawBufferPointer, to inode: Inode, expectedAt expected: Int64, _ dropsPrivileges: Bool,
    _ caller: Caller
  ) throws(Errno) {
    let offset = try files.append(to: inode, bytes, dropsPrivileges: dropsPrivileges, by: caller)
    // Then the kernel has these bytes in the wrong pages. Not told from here: it holds the pages' locks.
    if offset != expected { notifier.forgetContentsLater(of: inode.id) }
  }

  /// Under a writeback cache the kernel owns the size, and every WRITE says where it goes.
  private var appendsHere: Bool { !negotiation.agreed.contains(.writebackCache) }

  /// The kernel has sent what it held of the file.
  func serveFsync(_ message: Message) {
    let reply = message.reply
    let request = Request(message, self)
    do throws(Errno) {
      let inode = try request.inode(message.node)
      // A disk may take its time. Other requests should have a server meanwhile, those of this processor's queue too.
      if files.mayWaitToSynchronize(inode) { try? request.worker.willAnswerLater() }
      try files.synchronize(inode)
      reply.success()
    } catch {
      reply.error(error)
    }
  }

  func serveCopyFileRange64(_ message: Message) {
    let reply = message.reply
    let request = Request(message, self)
    do throws(Errno) {
      let arguments = try message.argument(fuse_copy_file_range_in.self)
      let (source, target) = (try request.inode(message.node), try request.inode(arguments.nodeid_out))
      copyRange(
        reply, request, from: source, at: Int64(bitPattern: arguments.off_in), to: target,
        at: Int64(bitPattern: arguments.off_out), count: Int(clamping: arguments.len)
      ) { $0.value(UInt64($1)) }
    } catch {
      reply.error(error)
    }
  }

  fileprivate func copyRange(
    _ reply: consuming Reply, _ request: Request, from source: Inode, at sourceOffset: Int64, to target: Inode,
    at targetOffset: Int64, count: Int, _ answer: @escaping (consuming Reply, Int) -> Void
  ) {
    let files = files
    let bytes = Self.range(targetOffset, Int64(min(count, FileSystem.largestCopy)))
    serveTakingSpace(reply, request, target, bytes) { () throws(Errno) in
      let copied = try files.copyRange(
        from: source, at: sourceOffset, to: target, at: targetOffset, count: count, self.accessTimes,
        by: request.caller)
      request.dropAnnouncedPrivileges(of: target)
      return { answer($0, copied) }
    }
  }

  /// The bytes that a request is about; none where there cannot be any.
  static func range(_ offset: Int64, _ count: Int64) -> Range<Int64> {
    let (end, overflows) = offset.addingReportingOverflow(count)
    return offset < 0 || count < 0 || overflows ? 0..<0 : offset..<end
  }
}

extension Request {
  /// Tells the kernel of a mode that it does not expect after a write, and takes capabilities away.
  fileprivate func privilegesWereDropped(from inode: Inode, mode: UInt32) {
    // Attributes alone: the kernel takes no lock for that.
    if inode.lock.withLock({ inode.mode }) != mode { session.notifier.attributesChanged(of: inode.id) }
    dropCapabilities(of: inode)
  }

  /// Takes set-user and set-group bits away where the kernel has said before that this change is to do so.
  fileprivate func dropAnnouncedPrivileges(of inode: Inode) {
    if caller.user == 0 || !inode.lock.withLock({ inode.isLosingPrivileges }) { return }
    let caller = caller(takingPrivilegesFrom: inode)
    let mode = inode.lock.withLock { () -> UInt32? in
      guard inode.isLosingPrivileges else { return nil }
      inode.isLosingPrivileges = false
      let mode = inode.mode
      inode.dropPrivilegeBitsLocked(by: caller)
      return mode
    }
    if let mode { privilegesWereDropped(from: inode, mode: mode) }
  }

  /// Takes file capabilities away, which the kernel leaves to us with HANDLE_KILLPRIV_V2.
  func dropCapabilities(of inode: Inode) {
    guard session.negotiation.agreed.contains(.handleKillPrivilegesV2) else { return }
    guard inode.lock.withLock({ inode.extendedAttributes != nil }) else { return }
    // ENODATA: it had none.
    try? files.removeExtendedAttribute(Array("security.capability".utf8), of: inode, by: caller)
  }
}

func serveFallocate(
  _ handle: fuse_req_t?, _ id: fuse_ino_t, _ mode: Int32, _ offset: off_t, _ length: off_t,
  _ file: UnsafeMutablePointer<fuse_file_info>?
) {
  let request = Request(handle!)
  let reply = Reply(handle!)
  let (session, caller) = (request.session, request.caller)
  do throws(Errno) {
    let inode = try request.inode(id)
    let takesSpace = mode & FALLOC_FL_PUNCH_HOLE == 0 && inode.kind == .regular
    let bytes = takesSpace ? Session.range(Int64(offset), Int64(length)) : 0..<0
    session.serveTakingSpace(reply, request, inode, bytes) { () throws(Errno) in
      try session.files.allocate(inode, mode: mode, at: Int64(offset), count: Int64(length), by: caller)
      request.dropAnnouncedPrivileges(of: inode)
      return { $0.success() }
    }
  } catch {
    reply.error(error)
  }
}

func serveLseek(
  _ handle: fuse_req_t?, _ id: fuse_ino_t, _ offset: off_t, _ whence: Int32,
  _ file: UnsafeMutablePointer<fuse_file_info>?
) {
  let request = Request(handle!)
  let reply = Reply(handle!)
  do throws(Errno) {
    let inode = try request.inode(id)
    if request.session.negotiation.kernelHoldsData {
      try request.worker.willAnswerLater()
      request.session.notifier.seekLater(reply, to: request.worker, inode, from: Int64(offset), whence: whence)
    } else {
      reply.seek(request.files, inode, from: Int64(offset), whence: whence)
    }
  } catch {
    reply.error(error)
  }
}

extension Reply {
  /// Answers with the place of the next data or hole.
  consuming func seek(_ files: FileSystem, _ inode: Inode, from offset: Int64, whence: Int32) {
    do throws(Errno) {
      value(fuse_lseek_out(offset: UInt64(try files.seek(inode, from: offset, whence: whence))))
    } catch {
      self.error(error)
    }
  }
}

func serveCopyFileRange(
  _ handle: fuse_req_t?, _ source: fuse_ino_t, _ sourceOffset: off_t,
  _ sourceFile: UnsafeMutablePointer<fuse_file_info>?, _ target: fuse_ino_t, _ targetOffset: off_t,
  _ targetFile: UnsafeMutablePointer<fuse_file_info>?, _ count: Int, _ flags: Int32
) {
  let request = Request(handle!)
  let reply = Reply(handle!)
  do throws(Errno) {
    let (source, target) = (try request.inode(source), try request.inode(target))
    // The answer has 32 bits for the count.
    request.session.copyRange(
      reply, request, from: source, at: Int64(sourceOffset), to: target, at: Int64(targetOffset),
      count: min(count, Int(Int32.max) & ~4095)
    ) { $0.value(fuse_write_out(size: UInt32($1), padding: 0)) }
  } catch {
    reply.error(error)
  }
}
