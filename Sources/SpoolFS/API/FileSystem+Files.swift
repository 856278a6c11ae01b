internal import Glibc
import SpoolStorage
public import SystemPackage

// The tree in this process, by path. Paths begin at the root, with or without a leading slash. Operations run as this
// process's effective user, with the permission rules of any other filesystem; a mount sees their effect at once.

extension FileSystem {
  /// Opens a regular file. The corresponding C function is `open`.
  ///
  /// - Parameters:
  ///   - options: `.create`, `.exclusiveCreate`, `.truncate` and `.noFollow` are honoured.
  ///   - permissions: of a file that is made; the process's umask is not applied.
  /// - Throws: ``SpoolFSError`` with ENOENT, EEXIST, EISDIR, ENOTDIR, ELOOP, EACCES, ENOSPC, ENAMETOOLONG; EOPNOTSUPP
  ///   for FIFOs, sockets and devices, which need a mount.
  public func open(
    _ path: FilePath, _ mode: FileDescriptor.AccessMode = .readOnly, options: FileDescriptor.OpenOptions = [],
    permissions: FilePermissions = .ownerReadWrite
  ) throws(SpoolFSError) -> OpenFile {
    let caller = Caller.current()
    let inode = try wrap("open", path) { () throws(Errno) in
      let (inode, isNew) = try findOrCreate(path, options: options, permissions: permissions, by: caller)
      switch inode.kind {
      case .regular: break
      case .directory: throw .isDirectory
      case .symbolicLink: throw .tooManySymbolicLinkLevels
      default: throw .notSupportedOnSocket
      }
      if !isNew { try checkOpen(inode, mode, by: caller) }
      if options.contains(.truncate), !isNew {
        _ = try setAttributes(AttributeChanges(size: 0, modified: .now), of: inode, by: caller)
      }
      return inode
    }
    return OpenFile(self, inode, by: caller, mode: mode, path: path)
  }

  /// Makes a regular file that has no name and ends with its handle. The corresponding C function is `open` with
  /// `O_TMPFILE`.
  public func openUnnamed(
    in directory: FilePath = "/", permissions: FilePermissions = .ownerReadWrite
  ) throws(SpoolFSError) -> OpenFile {
    let caller = Caller.current()
    let inode = try wrap("make a temporary file in", directory) { () throws(Errno) in
      try createUnnamed(
        in: resolve(directory, by: caller), mode: UInt32(permissions.rawValue), by: caller)
    }
    return OpenFile(self, inode, by: caller, mode: .readWrite, path: directory)
  }

  /// All bytes of a regular file.
  ///
  /// - Throws: ``SpoolFSError`` as ``open(_:_:options:permissions:)``; EFBIG for more bytes than the machine has memory.
  /// - Complexity: linear in the size.
  public func contents(of path: FilePath) throws(SpoolFSError) -> [UInt8] {
    let file = try open(path)
    return try file.read(count: .max, at: 0)
  }

  /// Makes a regular file with these bytes, or writes them over the contents of an existing one.
  ///
  /// If the bytes do not fit, an existing file is left as it was, and no new one stays behind. Readers of an existing file
  /// may meet it between the write and the cut to its new length; write another file and ``rename(_:to:_:)`` it where
  /// that matters. In a tree with ``FileSystem/Lifetime/close`` use ``open(_:_:options:permissions:)`` and keep the file
  /// open: this one would close it, and so remove it.
  ///
  /// - Throws: ``SpoolFSError`` as ``open(_:_:options:permissions:)``, ENOSPC.
  public func write(
    _ bytes: [UInt8], to path: FilePath, permissions: FilePermissions = .ownerReadWrite
  ) throws(SpoolFSError) {
    let isNew = !exists(path)
    let file = try open(path, .writeOnly, options: .create, permissions: permissions)
    do throws(SpoolFSError) {
      try file.write(bytes, at: 0)
      try file.resize(to: Int64(bytes.count))
    } catch {
      if isNew { try? remove(path) }
      throw error
    }
  }

  /// Whether there is something at `path`, links followed. The corresponding C function is `access` with `F_OK`.
  public func exists(_ path: FilePath) -> Bool {
    (try? resolve(path, by: .current())) != nil
  }

  /// The attributes. The corresponding C function is `stat`, or `lstat` where links are not followed.
  public func metadata(
    of path: FilePath, followingSymbolicLinks: Bool = true
  ) throws(SpoolFSError) -> FileMetadata {
    try wrap("read the attributes of", path) { () throws(Errno) in
      let inode = try resolve(path, followingLast: followingSymbolicLinks, by: .current())
      return FileMetadata(attributes(of: inode), kind: inode.kind)
    }
  }

  /// Sets permission bits. The corresponding C function is `chmod`.
  public func setPermissions(_ permissions: FilePermissions, of path: FilePath) throws(SpoolFSError) {
    try change(AttributeChanges(mode: UInt32(permissions.rawValue)), path, "change the permissions of")
  }

  /// Sets owner and group; nil leaves one as it is. The corresponding C function is `lchown`.
  public func setOwner(user: UInt32? = nil, group: UInt32? = nil, of path: FilePath) throws(SpoolFSError) {
    try change(
      AttributeChanges(user: user, group: group), path, "change the owner of", followingSymbolicLinks: false)
  }

  /// Sets access and modification time; nil leaves one as it is. The corresponding C function is `utimensat`.
  ///
  /// - Throws: ``SpoolFSError`` with EINVAL for 1,000,000,000 nanoseconds or more; ENOENT, EACCES, EPERM and others.
  public func setTimes(
    accessed: Timestamp? = nil, modified: Timestamp? = nil, of path: FilePath
  ) throws(SpoolFSError) {
    for time in [accessed, modified] where time.map({ $0.nanoseconds >= 1_000_000_000 }) ?? false {
      throw SpoolFSError(errno: .invalidArgument, operation: "change the times of", path: path)
    }
    let changes = AttributeChanges(accessed: accessed.map { .at($0) }, modified: modified.map { .at($0) })
    try change(changes, path, "change the times of")
  }

  /// Sets the length. The corresponding C function is `truncate`.
  public func resize(_ path: FilePath, to size: Int64) throws(SpoolFSError) {
    try change(AttributeChanges(size: size), path, "resize")
  }

  /// Space and inodes. The corresponding C function is `statvfs`.
  ///
  /// - Complexity: O(1).
  public var usage: FileSystemUsage {
    let numbers: FileSystemStatistics = statistics()
    let store = store.usage
    return FileSystemUsage(
      capacity: numbers.blocks * FileSystemStatistics.blockSize,
      free: numbers.freeBlocks * FileSystemStatistics.blockSize, memory: store.memoryBytes, disk: store.diskBytes,
      inodes: quota.count)
  }

  // MARK: - Steps

  /// Bytes: all that the machine has.
  static let largestArray = Int64(sysconf(Int32(_SC_PHYS_PAGES))) * Int64(getpagesize())

  private func findOrCreate(
    _ path: FilePath, options: FileDescriptor.OpenOptions, permissions: FilePermissions, by caller: Caller
  ) throws(Errno) -> (inode: Inode, isNew: Bool) {
    let exclusive = options.contains(.exclusiveCreate)
    guard options.contains(.create) else {
      return (try resolve(path, followingLast: !options.contains(.noFollow), by: caller), false)
    }
    while true {
      var place = try place(of: path, by: caller)
      if !exclusive {
        let found = try find(path, followingLast: !options.contains(.noFollow), by: caller)
        if let inode = found.inode { return (inode, false) }
        place = found.place
      }
      do throws(Errno) {
        let inode = try place.withName { name throws(Errno) in
          try create(name, in: place.parent, mode: UInt32(permissions.rawValue), exclusive: true, by: caller)
        }
        return (inode, true)
      } catch .fileExists where !exclusive {
        continue  // somebody made it since we looked
      }
    }
  }

  /// The access that open(2) asks for.
  private func checkOpen(_ inode: Inode, _ mode: FileDescriptor.AccessMode, by caller: Caller) throws(Errno) {
    let wanted: AccessMask =
      switch mode {
      case .readOnly: .read
      case .writeOnly: .write
      default: [.read, .write]
      }
    try inode.lock.withLock { () throws(Errno) in try inode.checkAccessLocked(wanted, by: caller) }
  }

  private func change(
    _ changes: AttributeChanges, _ path: FilePath, _ operation: String, followingSymbolicLinks: Bool = true
  ) throws(SpoolFSError) {
    try wrap(operation, path) { () throws(Errno) in
      let caller = Caller.current()
      let inode = try resolve(path, followingLast: followingSymbolicLinks, by: caller)
      _ = try setAttributes(changes, of: inode, by: caller)
    }
  }

  func wrap<Result>(
    _ operation: String, _ path: FilePath, _ body: () throws(Errno) -> Result
  ) throws(SpoolFSError) -> Result {
    do throws(Errno) { return try body() } catch {
      throw SpoolFSError(errno: error, operation: operation, path: path)
    }
  }
}
