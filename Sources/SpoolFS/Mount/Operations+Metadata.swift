internal import CFuse
internal import CSpoolSystem
internal import Glibc
import SpoolStorage
internal import SystemPackage

// Attributes, links' targets, numbers of the filesystem, and extended attributes.

func serveGetattr(_ handle: fuse_req_t?, _ id: fuse_ino_t, _ file: UnsafeMutablePointer<fuse_file_info>?) {
  let request = Request(handle!)
  let reply = Reply(handle!)
  do throws(Errno) {
    let inode = try request.inode(id)
    reply.attributes(request.files.attributes(of: inode), of: inode)
  } catch {
    reply.error(error)
  }
}

/// access(2) and chdir(2), on mounts where the kernel does not check permissions: root's own. Root may do everything but
/// execute what nobody may, which shells and `which` ask for.
func serveAccess(_ handle: fuse_req_t?, _ id: fuse_ino_t, _ wanted: Int32) {
  let request = Request(handle!)
  let reply = Reply(handle!)
  do throws(Errno) {
    let inode = try request.inode(id)
    try inode.lock.withLock { () throws(Errno) in
      try inode.checkAccessLocked(AccessMask(rawValue: UInt32(bitPattern: wanted)), by: .local(user: 0, group: 0))
    }
    reply.success()
  } catch {
    reply.error(error)
  }
}

func serveSetattr(
  _ handle: fuse_req_t?, _ id: fuse_ino_t, _ wanted: UnsafeMutablePointer<stat>?, _ fields: Int32,
  _ file: UnsafeMutablePointer<fuse_file_info>?
) {
  let request = Request(handle!)
  let reply = Reply(handle!)
  do throws(Errno) {
    let inode = try request.inode(id)
    var changes = AttributeChanges(wanted!.pointee, fields)
    // HANDLE_KILLPRIV_V2: FATTR_KILL_SUIDGID comes with a new size, and what would change the bits alone, a chown(2) to nobody
    // or a fallocate(2), as a change of nothing. Of a chown(2) the kernel has not checked whether it is allowed.
    let changesNothing = fields & ~FUSE_SET_ATTR_CTIME == 0
    changes.dropsPrivileges =
      changes.mode == nil
      && (fields & FUSE_SET_ATTR_KILL_SUID != 0 || changesNothing && request.caller.owns(inode))
    if changes.size != nil || changes.user != nil || changes.group != nil { request.dropCapabilities(of: inode) }
    let attributes = try request.files.setAttributes(changes, of: inode, by: request.caller)
    reply.attributes(attributes, of: inode)
  } catch {
    reply.error(error)
  }
}

extension Caller {
  fileprivate func owns(_ inode: Inode) -> Bool { user == 0 || user == inode.lock.withLock { inode.user } }
}

extension AttributeChanges {
  /// - Parameter fields: FUSE_SET_ATTR_ bits.
  fileprivate init(_ wanted: stat, _ fields: Int32) {
    self.init()
    func has(_ bit: Int32) -> Bool { fields & bit != 0 }
    if has(FUSE_SET_ATTR_MODE) { mode = UInt32(wanted.st_mode) }
    if has(FUSE_SET_ATTR_UID) { user = wanted.st_uid }
    if has(FUSE_SET_ATTR_GID) { group = wanted.st_gid }
    if has(FUSE_SET_ATTR_SIZE) { size = Int64(wanted.st_size) }
    if has(FUSE_SET_ATTR_ATIME_NOW) {
      accessed = .now
    } else if has(FUSE_SET_ATTR_ATIME) {
      accessed = .at(Timestamp(wanted.st_atim))
    }
    if has(FUSE_SET_ATTR_MTIME_NOW) {
      modified = .now
    } else if has(FUSE_SET_ATTR_MTIME) {
      modified = .at(Timestamp(wanted.st_mtim))
    }
    // Only a kernel with a writeback cache sends it.
    if has(FUSE_SET_ATTR_CTIME) { changed = Timestamp(wanted.st_ctim) }
  }
}

extension Timestamp {
  fileprivate init(_ time: timespec) {
    self.init(seconds: Int64(time.tv_sec), nanoseconds: UInt32(time.tv_nsec))
  }
}

func serveReadlink(_ handle: fuse_req_t?, _ id: fuse_ino_t) {
  let request = Request(handle!)
  let reply = Reply(handle!)
  do throws(Errno) {
    let target = try request.files.target(of: request.inode(id))
    reply.bytes(of: target)
  } catch {
    reply.error(error)
  }
}

func serveStatfs(_ handle: fuse_req_t?, _ id: fuse_ino_t) {
  let request = Request(handle!)
  let statistics = request.files.statistics()
  var answer = fuse_statfs_out()
  answer.st.bsize = UInt32(FileSystemStatistics.blockSize)
  answer.st.frsize = UInt32(FileSystemStatistics.blockSize)
  answer.st.blocks = UInt64(statistics.blocks)
  answer.st.bfree = UInt64(statistics.freeBlocks)
  answer.st.bavail = UInt64(statistics.freeBlocks)
  answer.st.files = UInt64(statistics.inodes)
  answer.st.ffree = UInt64(statistics.freeInodes)
  answer.st.namelen = UInt32(FileName.maximumLength)
  Reply(handle!).value(answer)
}

// MARK: - Extended attributes

extension Reply {
  /// Answers with `value`, or with its size where the caller gives no room.
  fileprivate consuming func extendedAttribute(_ value: [UInt8], room: Int) {
    if room == 0 {
      self.value(fuse_getxattr_out(size: UInt32(value.count), padding: 0))
    } else if value.count > room {
      error(.outOfRange)
    } else {
      bytes(of: value)
    }
  }
}

func serveGetxattr(_ handle: fuse_req_t?, _ id: fuse_ino_t, _ name: UnsafePointer<CChar>?, _ size: Int) {
  let request = Request(handle!)
  let reply = Reply(handle!)
  do throws(Errno) {
    let value = try request.files.extendedAttribute(
      Array(nameBytes(name!)), of: request.inode(id), by: request.caller)
    reply.extendedAttribute(value, room: size)
  } catch {
    reply.error(error)
  }
}

func serveListxattr(_ handle: fuse_req_t?, _ id: fuse_ino_t, _ size: Int) {
  let request = Request(handle!)
  let reply = Reply(handle!)
  do throws(Errno) {
    let names = try request.files.extendedAttributeNames(of: request.inode(id))
    reply.extendedAttribute(names.flatMap { $0 + [0] }, room: size)
  } catch {
    reply.error(error)
  }
}

func serveSetxattr(
  _ handle: fuse_req_t?, _ id: fuse_ino_t, _ name: UnsafePointer<CChar>?, _ value: UnsafePointer<CChar>?,
  _ size: Int, _ flags: Int32
) {
  let request = Request(handle!)
  let reply = Reply(handle!)
  do throws(Errno) {
    try request.files.setExtendedAttribute(
      Array(nameBytes(name!)), Array(UnsafeRawBufferPointer(start: value, count: size)), of: request.inode(id),
      flags: flags, by: request.caller)
    reply.success()
  } catch {
    reply.error(error)
  }
}

func serveRemovexattr(_ handle: fuse_req_t?, _ id: fuse_ino_t, _ name: UnsafePointer<CChar>?) {
  let request = Request(handle!)
  let reply = Reply(handle!)
  do throws(Errno) {
    try request.files.removeExtendedAttribute(
      Array(nameBytes(name!)), of: request.inode(id), by: request.caller)
    reply.success()
  } catch {
    reply.error(error)
  }
}
