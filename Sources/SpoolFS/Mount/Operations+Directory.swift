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
    if let arguments = try? message.argument(fuse_forget_in.self) { forget(message.node, arguments.nlookup) }
    message.reply.none()
  }

  func serveBatchForget(_ message: Message) {
    if let arguments = try? message.argument(fuse_batch_forget_in.self),
      let list = try? message.data(after: MemoryLayout<fuse_batch_forget_in>.size)
    {
      let size = MemoryLayout<fuse_forget_one>.size
      for index in 0..<min(Int(arguments.count), list.count / size) {
        let forget = list.loadUnaligned(fromByteOffset: index * size, as: fuse_forget_one.self)
        self.forget(forget.nodeid, forget.nlookup)
      }
    }
    message.reply.none()
  }

  private func forget(_ id: UInt64, _ lookups: UInt64) {
    files.forget(id, lookups)
    if space.isShort, files.inode(id) == nil { space.forgot(id) }
  }
}

// MARK: - Making

extension Session {
  /// Answers with the inode that `make` returns, given the directory that the message is about.
  private func serveNewEntry(_ message: Message, _ make: (Request, Inode) throws(Errno) -> Inode) {
    let reply = message.reply
    let request = Request(message, self)
    do throws(Errno) {
      let inode = try make(request, request.inode(message.node))
      reply.entry(inode, request)
    } catch {
      reply.error(error)
    }
  }

  /// Where OPEN is not served, open(2) with O_CREAT comes as MKNOD too, since CREATE is refused: a file that CREATE has made
  /// brings a RELEASE, at least until the kernel has learned from some OPEN that nobody counts, in some versions always.
  func serveMknod(_ message: Message) {
    serveNewEntry(message) { request, parent throws(Errno) in
      let arguments = try message.argument(fuse_mknod_in.self)
      let name = try message.name(after: MemoryLayout<fuse_mknod_in>.size)
      do throws(Errno) {
        return try files.makeNode(
          name, in: parent, mode: arguments.mode, device: UInt64(arguments.rdev), by: request.caller)
      } catch .fileExists where arguments.mode & S_IFMT == S_IFREG {
        // Somebody in this process was first. The kernel, which knew no such file, looks again; then it opens the file, or
        // fails with EEXIST itself.
        throw .staleNFSFileHandle
      }
    }
  }

  func serveMkdir(_ message: Message) {
    serveNewEntry(message) { request, parent throws(Errno) in
      let mode = try message.argument(fuse_mkdir_in.self).mode
      let name = try message.name(after: MemoryLayout<fuse_mkdir_in>.size)
      return try files.makeDirectory(name, in: parent, mode: mode, by: request.caller)
    }
  }

  func serveSymlink(_ message: Message) {
    serveNewEntry(message) { request, parent throws(Errno) in
      let name = try message.name()
      let target = try message.name(after: name.count + 1)
      return try files.makeSymlink(name, in: parent, target: target, by: request.caller)
    }
  }

  func serveLink(_ message: Message) {
    serveNewEntry(message) { request, parent throws(Errno) in
      let inode = try request.inode(message.argument(fuse_link_in.self).oldnodeid)
      let name = try message.name(after: MemoryLayout<fuse_link_in>.size)
      try files.link(inode, as: name, in: parent, by: request.caller)
      return inode
    }
  }
}

// MARK: - Removing and moving

extension Session {
  /// Answers without content once `change` has been made to the directory that the message is about.
  private func serveChange(_ message: Message, _ change: (Request, Inode) throws(Errno) -> Void) {
    let reply = message.reply
    let request = Request(message, self)
    do throws(Errno) {
      try change(request, request.inode(message.node))
      reply.success()
    } catch {
      reply.error(error)
    }
  }

  func serveUnlink(_ message: Message) {
    serveChange(message) { request, parent throws(Errno) in
      try files.unlink(message.name(), in: parent, by: request.caller)
    }
  }

  func serveRmdir(_ message: Message) {
    serveChange(message) { request, parent throws(Errno) in
      try files.removeDirectory(message.name(), in: parent, by: request.caller)
    }
  }

  func serveRename(_ message: Message) {
    serveChange(message) { request, parent throws(Errno) in
      let newParent = try message.argument(fuse_rename_in.self).newdir
      let size = MemoryLayout<fuse_rename_in>.size
      try rename(message, from: parent, to: newParent, namesAfter: size, flags: 0, request)
    }
  }

  func serveRename2(_ message: Message) {
    serveChange(message) { request, parent throws(Errno) in
      let arguments = try message.argument(fuse_rename2_in.self)
      let size = MemoryLayout<fuse_rename2_in>.size
      try rename(message, from: parent, to: arguments.newdir, namesAfter: size, flags: arguments.flags, request)
    }
  }

  private func rename(
    _ message: Message, from parent: Inode, to newParent: UInt64, namesAfter size: Int, flags: UInt32,
    _ request: Request
  ) throws(Errno) {
    let name = try message.name(after: size)
    try files.rename(
      name, in: parent, to: message.name(after: size + name.count + 1), in: request.inode(newParent),
      flags: RenameFlags(rawValue: flags), by: request.caller)
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
    try request.files.enumerate(
      request.inode(id), after: UInt64(bitPattern: Int64(offset)), request.listingAccessTimes,
      by: request.caller
    ) { name, inode, cookie in
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
    try files.enumerate(
      request.inode(id), after: UInt64(bitPattern: Int64(offset)), request.listingAccessTimes,
      by: request.caller
    ) { name, inode, cookie in
      // Number 0 tells the kernel that this entry comes without attributes and counts nothing.
      var entry = fuse_entry_out()
      let isLookup = !DirectoryListing.isDot(name)
      if isLookup { entry = fuse_entry_out(inode, request.session) }
      guard listing.append(name, inode, cookie, entry) else { return false }
      if isLookup { files.remember(inode) }
      return true
    }
    if !reply.bytes(listing.bytes) { listing.forEachLookup { files.forget($0, 1) } }
  } catch {
    reply.error(error)
  }
}

extension Request {
  /// When the listing that is asked for moves the directory's access time.
  fileprivate var listingAccessTimes: AccessTimes {
    let read = worker.message.loadUnaligned(fromByteOffset: MessageLayout.headerSize, as: fuse_read_in.self)
    return Int32(bitPattern: read.flags) & spool_o_no_access_time != 0 ? .never : session.directoryAccessTimes
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
    buffer.storeBytes(of: inode.number, toByteOffset: header, as: UInt64.self)
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
