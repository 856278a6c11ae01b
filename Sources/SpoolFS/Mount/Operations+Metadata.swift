internal import CFuse
internal import CSpoolSystem
internal import Glibc
import SpoolStorage
internal import SystemPackage

// Attributes, links' targets, numbers of the filesystem, and extended attributes.

extension Session {
  func serveGetattr(_ message: Message) {
    let reply = message.reply
    do throws(Errno) {
      let request = Request(message, self)
      let inode = try request.inode(message.node)
      if asksForWrite(message, inode) {
        serveQuestion(reply, request, inode, from: message.header.pid)
      } else {
        reply.attributes(of: inode, self)
      }
    } catch {
      reply.error(error)
    }
  }

  /// Asked for only where somebody wants to know the birth time.
  func serveStatx(_ message: Message) {
    let reply = message.reply
    do throws(Errno) {
      let inode = try Request(message, self).inode(message.node)
      reply.extendedStatus(of: inode, self)
    } catch {
      reply.error(error)
    }
  }

  func serveSetattr(_ message: Message) {
    let reply = message.reply
    let request = Request(message, self)
    do throws(Errno) {
      let inode = try request.inode(message.node)
      let wanted = try message.argument(fuse_setattr_in.self)
      var changes = AttributeChanges(wanted)
      // HANDLE_KILLPRIV_V2: FATTR_KILL_SUIDGID comes with a new size. What would change the bits alone, a chown(2) to nobody or
      // a fallocate(2), comes as a change of nothing. Of a chown(2) the kernel has not checked whether it is allowed. So where
      // the caller does not own the file, the bits go with the FALLOCATE that follows, or the COPY_FILE_RANGE.
      if wanted.fields.isSubset(of: .changed) {
        changes.dropsPrivileges = request.caller.owns(inode)
        if !changes.dropsPrivileges { inode.lock.withLock { inode.isLosingPrivileges = true } }
      } else {
        changes.dropsPrivileges = changes.mode == nil && wanted.fields.contains(.dropsPrivileges)
      }
      if movesModificationTime(wanted) { changes.modified = .now }
      if changes.size != nil || changes.user != nil || changes.group != nil { request.dropCapabilities(of: inode) }
      let takesPrivileges = changes.dropsPrivileges || changes.user != nil || changes.group != nil
      let caller = takesPrivileges ? request.caller(takingPrivilegesFrom: inode) : request.caller
      let attributes = try files.setAttributes(changes, of: inode, by: caller)
      if let size = changes.size, space.isShort { space.cut(inode.id, to: size) }
      reply.attributes(attributes, of: inode, self)
    } catch {
      reply.error(error)
    }
  }

  /// ftruncate(2) and O_TRUNC move the modification time also where the size stays, which truncate(2) does not. Without a
  /// write-back cache the kernel does not say so. O_TRUNC looks like truncate(2) to nothing, which is rare.
  private func movesModificationTime(_ wanted: fuse_setattr_in) -> Bool {
    guard wanted.fields.contains(.size), !wanted.fields.contains(.modified) else { return false }
    if negotiation.kernelHoldsData { return false }
    return wanted.hasHandle || wanted.size == 0
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

extension Caller {
  fileprivate func owns(_ inode: Inode) -> Bool { user == 0 || user == inode.lock.withLock { inode.user } }
}

/// FATTR_ bits: what a SETATTR is about.
private struct AttributeFields: OptionSet {
  let rawValue: UInt32

  static let mode = AttributeFields(rawValue: 1 << 0)
  static let user = AttributeFields(rawValue: 1 << 1)
  static let group = AttributeFields(rawValue: 1 << 2)
  static let size = AttributeFields(rawValue: 1 << 3)
  static let accessed = AttributeFields(rawValue: 1 << 4)
  static let modified = AttributeFields(rawValue: 1 << 5)
  static let accessedNow = AttributeFields(rawValue: 1 << 7)
  static let modifiedNow = AttributeFields(rawValue: 1 << 8)
  static let changed = AttributeFields(rawValue: 1 << 10)
  static let dropsPrivileges = AttributeFields(rawValue: 1 << 11)

  /// The others say how the file was named, by handle or with an owner of locks.
  static let all: AttributeFields = [
    .mode, .user, .group, .size, .accessed, .modified, .accessedNow, .modifiedNow, .changed, .dropsPrivileges,
  ]
}

extension fuse_setattr_in {
  /// FATTR_FH.
  fileprivate var hasHandle: Bool { valid & 1 << 6 != 0 }

  fileprivate var fields: AttributeFields { AttributeFields(rawValue: valid).intersection(.all) }
}

extension AttributeChanges {
  fileprivate init(_ wanted: fuse_setattr_in) {
    self.init()
    let fields = wanted.fields
    if fields.contains(.mode) { mode = wanted.mode }
    if fields.contains(.user) { user = wanted.uid }
    if fields.contains(.group) { group = wanted.gid }
    if fields.contains(.size) { size = Int64(bitPattern: wanted.size) }
    if fields.contains(.accessedNow) {
      accessed = .now
    } else if fields.contains(.accessed) {
      accessed = .at(Timestamp(wanted.atime, wanted.atimensec))
    }
    if fields.contains(.modifiedNow) {
      modified = .now
    } else if fields.contains(.modified) {
      modified = .at(Timestamp(wanted.mtime, wanted.mtimensec))
    }
    // Only a kernel with a writeback cache sends it.
    if fields.contains(.changed) { changed = Timestamp(wanted.ctime, wanted.ctimensec) }
  }
}

extension Timestamp {
  fileprivate init(_ seconds: UInt64, _ nanoseconds: UInt32) {
    self.init(seconds: Int64(bitPattern: seconds), nanoseconds: nanoseconds)
  }
}

func serveReadlink(_ handle: fuse_req_t?, _ id: fuse_ino_t) {
  let request = Request(handle!)
  let reply = Reply(handle!)
  do throws(Errno) {
    let target = try request.files.target(of: request.inode(id), request.session.accessTimes)
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
  answer.st.blocks = UInt64(clamping: statistics.blocks)
  answer.st.bfree = UInt64(clamping: statistics.freeBlocks)
  answer.st.bavail = answer.st.bfree
  answer.st.files = UInt64(clamping: statistics.inodes)
  answer.st.ffree = UInt64(clamping: statistics.freeInodes)
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
