internal import CFuse
internal import CSpoolSystem
internal import Glibc
internal import SystemPackage

// Names: finding, making, moving, removing and listing them.

extension Session {
  func serveLookup(_ message: Message) {
    let reply = message.reply
    let request = Request(message, self)
    do throws(Errno) {
      let inode = try files.lookup(message.name(), in: request.inode(message.node), by: request.caller)
      reply.entry(inode, request)
    } catch {
      if error == .noSuchFileOrDirectory { reply.absentEntry() } else { reply.error(error) }
    }
  }

  func serveForget(_ message: Message) {
    if let arguments = try? message.argument(fuse_forget_in.self) { files.forget(message.node, arguments.nlookup) }
    message.reply.none()
  }

  func serveBatchForget(_ message: Message) {
    if let arguments = try? message.argument(fuse_batch_forget_in.self),
      let list = try? message.data(after: MemoryLayout<fuse_batch_forget_in>.size)
    {
      let size = MemoryLayout<fuse_forget_one>.size
      for index in 0..<min(Int(arguments.count), list.count / size) {
        let forget = list.loadUnaligned(fromByteOffset: index * size, as: fuse_forget_one.self)
        files.forget(forget.nodeid, forget.nlookup)
      }
    }
    message.reply.none()
  }
}

// MARK: - Making

extension Session {
  /// Where OPEN is not served, open(2) with O_CREAT comes as MKNOD too, since CREATE is refused: a file that CREATE has made
  /// brings a RELEASE, at least until the kernel has learned from some OPEN that nobody counts, in some versions always.
  func serveMknod(_ message: Message) {
    let reply = message.reply
    let request = Request(message, self)
    do throws(Errno) {
      let arguments = try message.argument(fuse_mknod_in.self)
      let name = try message.name(after: MemoryLayout<fuse_mknod_in>.size)
      do throws(Errno) {
        let inode = try files.makeNode(
          name, in: request.inode(message.node), mode: arguments.mode, device: UInt64(arguments.rdev),
          by: request.caller)
        reply.entry(inode, request)
      } catch .fileExists where arguments.mode & S_IFMT == S_IFREG {
        // Somebody in this process was first. The kernel, which knew no such file, looks again; then it opens the file, or
        // fails with EEXIST itself.
        reply.error(.staleNFSFileHandle)
      }
    } catch {
      reply.error(error)
    }
  }

  func serveMkdir(_ message: Message) {
    let reply = message.reply
    let request = Request(message, self)
    do throws(Errno) {
      let inode = try files.makeDirectory(
        message.name(after: MemoryLayout<fuse_mkdir_in>.size), in: request.inode(message.node),
        mode: message.argument(fuse_mkdir_in.self).mode, by: request.caller)
      reply.entry(inode, request)
    } catch {
      reply.error(error)
    }
  }
}

/// Answers with the inode that `make` returns.
private func serveNewEntry(
  _ handle: fuse_req_t?, _ parent: fuse_ino_t, _ make: (Request, Inode) throws(Errno) -> Inode
) {
  let request = Request(handle!)
  let reply = Reply(handle!)
  do throws(Errno) {
    let inode = try make(request, request.inode(parent))
    reply.entry(inode, request)
  } catch {
    reply.error(error)
  }
}

func serveSymlink(
  _ handle: fuse_req_t?, _ target: UnsafePointer<CChar>?, _ parent: fuse_ino_t, _ name: UnsafePointer<CChar>?
) {
  serveNewEntry(handle, parent) { request, parent throws(Errno) in
    try request.files.makeSymlink(nameBytes(name!), in: parent, target: nameBytes(target!), by: request.caller)
  }
}

func serveLink(
  _ handle: fuse_req_t?, _ id: fuse_ino_t, _ parent: fuse_ino_t, _ name: UnsafePointer<CChar>?
) {
  serveNewEntry(handle, parent) { request, parent throws(Errno) in
    let inode = try request.inode(id)
    try request.files.link(inode, as: nameBytes(name!), in: parent, by: request.caller)
    return inode
  }
}

// MARK: - Removing and moving

extension Session {
  func serveUnlink(_ message: Message) {
    let reply = message.reply
    let request = Request(message, self)
    do throws(Errno) {
      try files.unlink(message.name(), in: request.inode(message.node), by: request.caller)
      reply.success()
    } catch {
      reply.error(error)
    }
  }

  func serveRmdir(_ message: Message) {
    let reply = message.reply
    let request = Request(message, self)
    do throws(Errno) {
      try files.removeDirectory(message.name(), in: request.inode(message.node), by: request.caller)
      reply.success()
    } catch {
      reply.error(error)
    }
  }

  /// RENAME, and RENAME2 with its flags.
  func serveRename(_ message: Message) {
    let reply = message.reply
    let request = Request(message, self)
    do throws(Errno) {
      let hasFlags = message.header.opcode == Opcode.rename2.rawValue
      let arguments = hasFlags ? try message.argument(fuse_rename2_in.self) : fuse_rename2_in()
      let size = hasFlags ? MemoryLayout<fuse_rename2_in>.size : MemoryLayout<fuse_rename_in>.size
      let newParent = hasFlags ? arguments.newdir : try message.argument(fuse_rename_in.self).newdir
      let name = try message.name(after: size)
      try files.rename(
        name, in: request.inode(message.node), to: message.name(after: size + name.count + 1),
        in: request.inode(newParent), flags: RenameFlags(rawValue: arguments.flags), by: request.caller)
      reply.success()
    } catch {
      reply.error(error)
    }
  }
}

// MARK: - Listing

/// Nothing is kept per open directory. The kernel then caches listings, too.
func serveOpendir(_ handle: fuse_req_t?, _ id: fuse_ino_t, _ file: UnsafeMutablePointer<fuse_file_info>?) {
  Reply(handle!).error(.noFunction)
}

func serveReaddir(
  _ handle: fuse_req_t?, _ id: fuse_ino_t, _ size: Int, _ offset: off_t,
  _ file: UnsafeMutablePointer<fuse_file_info>?
) {
  let request = Request(handle!)
  let reply = Reply(handle!)
  do throws(Errno) {
    var listing = DirectoryListing(request.worker.replyBuffer.prefix(size))
    try request.files.enumerate(request.inode(id), after: UInt64(bitPattern: Int64(offset)), by: request.caller) {
      name, inode, cookie in
      listing.append(name, inode, cookie)
    }
    reply.bytes(listing.bytes)
  } catch {
    reply.error(error)
  }
}

/// Entries with their attributes: each counts as a lookup, but for "." and "..".
func serveReaddirplus(
  _ handle: fuse_req_t?, _ id: fuse_ino_t, _ size: Int, _ offset: off_t,
  _ file: UnsafeMutablePointer<fuse_file_info>?
) {
  let request = Request(handle!)
  let reply = Reply(handle!)
  let files = request.files
  do throws(Errno) {
    var listing = DirectoryListing(request.worker.replyBuffer.prefix(size))
    try files.enumerate(request.inode(id), after: UInt64(bitPattern: Int64(offset)), by: request.caller) {
      name, inode, cookie in
      // Number 0 tells the kernel that this entry comes without attributes and counts nothing.
      var entry = fuse_entry_out()
      let isLookup = !DirectoryListing.isDot(name)
      if isLookup { entry = fuse_entry_out(inode, files) }
      guard listing.append(name, inode, cookie, entry) else { return false }
      if isLookup { files.remember(inode) }
      return true
    }
    if !reply.bytes(listing.bytes) { listing.forEachLookup { files.forget($0, 1) } }
  } catch {
    reply.error(error)
  }
}

/// The kernel's format of directory entries, written into a worker's buffer.
private struct DirectoryListing {
  private static let entrySize = MemoryLayout<fuse_entry_out>.size
  /// `fuse_dirent` up to its name.
  private static let headerSize = 24

  private let buffer: UnsafeMutableRawBufferPointer
  private var used = 0

  init(_ buffer: Slice<UnsafeMutableRawBufferPointer>) {
    self.buffer = UnsafeMutableRawBufferPointer(rebasing: buffer)
  }

  var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: buffer[..<used]) }

  static func isDot(_ name: UnsafeRawBufferPointer) -> Bool { name.equals(".") || name.equals("..") }

  /// - Returns: whether there was room.
  mutating func append(_ name: UnsafeRawBufferPointer, _ inode: Inode, _ cookie: UInt64) -> Bool {
    append(name, inode, cookie, prefixSize: 0)
  }

  mutating func append(
    _ name: UnsafeRawBufferPointer, _ inode: Inode, _ cookie: UInt64, _ entry: fuse_entry_out
  ) -> Bool {
    let start = used
    guard append(name, inode, cookie, prefixSize: Self.entrySize) else { return false }
    buffer.storeBytes(of: entry, toByteOffset: start, as: fuse_entry_out.self)
    return true
  }

  private mutating func append(
    _ name: UnsafeRawBufferPointer, _ inode: Inode, _ cookie: UInt64, prefixSize: Int
  ) -> Bool {
    let length = prefixSize + Self.headerSize + name.count
    let padded = (length + 7) & ~7
    guard used + padded <= buffer.count else { return false }
    let header = used + prefixSize
    buffer.storeBytes(of: inode.id, toByteOffset: header, as: UInt64.self)
    buffer.storeBytes(of: cookie, toByteOffset: header + 8, as: UInt64.self)
    buffer.storeBytes(of: UInt32(name.count), toByteOffset: header + 16, as: UInt32.self)
    buffer.storeBytes(of: inode.kind.typeBits >> 12, toByteOffset: header + 20, as: UInt32.self)
    let place = UnsafeMutableRawBufferPointer(rebasing: buffer[(header + Self.headerSize)..<(used + padded)])
    place.copyMemory(from: name)
    for index in name.count..<place.count { place[index] = 0 }
    used += padded
    return true
  }

  /// The numbers of the entries that count as lookups.
  func forEachLookup(_ body: (UInt64) -> Void) {
    var place = 0
    while place < used {
      let id = buffer.load(fromByteOffset: place, as: fuse_entry_out.self).nodeid
      if id != 0 { body(id) }
      let length = buffer.load(fromByteOffset: place + Self.entrySize + 16, as: UInt32.self)
      place += (Self.entrySize + Self.headerSize + Int(length) + 7) & ~7
    }
  }
}
