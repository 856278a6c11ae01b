internal import CFuse
internal import CSpoolSystem
internal import Glibc
internal import SystemPackage

// Names: finding, making, moving, removing and listing them.

func serveLookup(_ handle: fuse_req_t?, _ parent: fuse_ino_t, _ name: UnsafePointer<CChar>?) {
  let request = Request(handle!)
  let reply = Reply(handle!)
  do throws(Errno) {
    let inode = try request.files.lookup(nameBytes(name!), in: request.inode(parent), by: request.caller)
    reply.entry(inode, request)
  } catch {
    if error == .noSuchFileOrDirectory { reply.absentEntry() } else { reply.error(error) }
  }
}

func serveForget(_ handle: fuse_req_t?, _ id: fuse_ino_t, _ lookups: UInt64) {
  Request(handle!).files.forget(id, lookups)
  Reply(handle!).none()
}

func serveForgetMulti(_ handle: fuse_req_t?, _ count: Int, _ list: UnsafeMutablePointer<fuse_forget_data>?) {
  let files = Request(handle!).files
  for forget in UnsafeMutableBufferPointer(start: list, count: count) { files.forget(forget.ino, forget.nlookup) }
  Reply(handle!).none()
}

// MARK: - Making

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

/// Where OPEN is not served, open(2) with O_CREAT comes as MKNOD too, since CREATE is refused: a file that CREATE has made
/// brings a RELEASE, at least until the kernel has learned from some OPEN that nobody counts, in some versions always.
func serveMknod(
  _ handle: fuse_req_t?, _ parent: fuse_ino_t, _ name: UnsafePointer<CChar>?, _ mode: mode_t, _ device: dev_t
) {
  serveNewEntry(handle, parent) { request, parent throws(Errno) in
    do throws(Errno) {
      return try request.files.makeNode(
        nameBytes(name!), in: parent, mode: UInt32(mode), device: UInt64(device), by: request.caller)
    } catch .fileExists where mode & S_IFMT == S_IFREG {
      // Somebody in this process was first. The kernel, which knew no such file, looks again; then it opens the file, or
      // fails with EEXIST itself.
      throw .staleNFSFileHandle
    }
  }
}

func serveMkdir(_ handle: fuse_req_t?, _ parent: fuse_ino_t, _ name: UnsafePointer<CChar>?, _ mode: mode_t) {
  serveNewEntry(handle, parent) { request, parent throws(Errno) in
    try request.files.makeDirectory(nameBytes(name!), in: parent, mode: UInt32(mode), by: request.caller)
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

func serveUnlink(_ handle: fuse_req_t?, _ parent: fuse_ino_t, _ name: UnsafePointer<CChar>?) {
  let request = Request(handle!)
  let reply = Reply(handle!)
  do throws(Errno) {
    try request.files.unlink(nameBytes(name!), in: request.inode(parent), by: request.caller)
    reply.success()
  } catch {
    reply.error(error)
  }
}

func serveRmdir(_ handle: fuse_req_t?, _ parent: fuse_ino_t, _ name: UnsafePointer<CChar>?) {
  let request = Request(handle!)
  let reply = Reply(handle!)
  do throws(Errno) {
    try request.files.removeDirectory(nameBytes(name!), in: request.inode(parent), by: request.caller)
    reply.success()
  } catch {
    reply.error(error)
  }
}

func serveRename(
  _ handle: fuse_req_t?, _ parent: fuse_ino_t, _ name: UnsafePointer<CChar>?, _ newParent: fuse_ino_t,
  _ newName: UnsafePointer<CChar>?, _ flags: UInt32
) {
  let request = Request(handle!)
  let reply = Reply(handle!)
  do throws(Errno) {
    try request.files.rename(
      nameBytes(name!), in: request.inode(parent), to: nameBytes(newName!), in: request.inode(newParent),
      flags: RenameFlags(rawValue: flags), by: request.caller)
    reply.success()
  } catch {
    reply.error(error)
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
