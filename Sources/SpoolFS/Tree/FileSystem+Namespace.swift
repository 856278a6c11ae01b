import SpoolStorage
internal import SystemPackage

// Names and what they point to. Each function is one system call's worth of change, done under the lock of the directory.

extension FileSystem {
  /// The inode that `name` points to.
  ///
  /// - Throws: ENOENT, ENOTDIR, ENAMETOOLONG, EACCES.
  /// - Complexity: O(1).
  func lookup(_ name: UnsafeRawBufferPointer, in parent: Inode, by caller: Caller) throws(Errno) -> Inode {
    if let status = try statusNode(name, in: parent, by: caller) { return status }
    return try parent.lock.withLock { () throws(Errno) in
      let directory = try parent.directoryLocked()
      try parent.checkAccessLocked(.execute, by: caller)
      if name.count > FileName.maximumLength { throw .fileNameTooLong }
      guard let inode = directory.find(directory.key(for: name)) else { throw .noSuchFileOrDirectory }
      return inode
    }
  }

  /// Makes a regular file: open(2) with O_CREAT.
  ///
  /// - Parameter exclusive: O_EXCL; otherwise an existing regular file is returned.
  /// - Throws: EEXIST, EISDIR, ENOENT (the directory was removed), ENOSPC, ENAMETOOLONG, EACCES, EPERM.
  func create(
    _ name: UnsafeRawBufferPointer, in parent: Inode, mode: UInt32, exclusive: Bool, by caller: Caller
  ) throws(Errno) -> Inode {
    try add(name, in: parent, by: caller, orUseExisting: !exclusive) { parentBits throws(Errno) in
      try makeInode(.regular, mode: mode, in: parentBits, payload: .regular(nil), by: caller)
    }
  }

  /// Makes a regular file with no name: open(2) with O_TMPFILE.
  ///
  /// - Throws: ENOENT, ENOSPC, ENOTDIR, EACCES.
  func createUnnamed(in parent: Inode, mode: UInt32, by caller: Caller) throws(Errno) -> Inode {
    let creator = commands.creator(caller.process)
    let birthplace = try parent.lock.withLock { () throws(Errno) in
      _ = try parent.directoryLocked()
      if parent.linkCount == 0 { throw .noSuchFileOrDirectory }
      try parent.checkAccessLocked([.write, .execute], by: caller)
      return Birthplace(group: parent.group, mode: parent.mode, creator: creator, time: .now)
    }
    let inode = try waitingForReclaim { () throws(Errno) in
      try makeInode(.regular, mode: mode, in: birthplace, payload: .regular(nil), by: caller)
    }
    inode.lock.withLock {
      inode.linkCount = 0
      inode.isLinkable = true
      inode.becomeOrphanLocked()
    }
    return inode
  }

  /// mkdir(2).
  ///
  /// - Throws: EEXIST, ENOENT, ENOSPC, EMLINK, ENAMETOOLONG, EACCES.
  func makeDirectory(
    _ name: UnsafeRawBufferPointer, in parent: Inode, mode: UInt32, by caller: Caller
  ) throws(Errno) -> Inode {
    try add(name, in: parent, by: caller) { parentBits throws(Errno) in
      let inode = try makeInode(
        .directory, mode: mode, in: parentBits, payload: .directory(Directory()), by: caller)
      inode.parent = parent
      return inode
    }
  }

  /// mknod(2): a FIFO, a socket, a device node or a regular file, by the type bits of `mode`.
  ///
  /// - Throws: EINVAL for other types; EPERM for device nodes unless privileged, but for whiteouts (a character device 0/0,
  ///   see `RenameFlags.whiteout`); as `create` does.
  func makeNode(
    _ name: UnsafeRawBufferPointer, in parent: Inode, mode: UInt32, device: UInt64, by caller: Caller
  ) throws(Errno) -> Inode {
    guard let kind = FileKind(mode: mode), kind != .directory, kind != .symbolicLink else { throw .invalidArgument }
    let isDevice = kind == .characterDevice || kind == .blockDevice
    return try add(name, in: parent, by: caller) { parentBits throws(Errno) in
      let isWhiteout = kind == .characterDevice && device == 0
      if isDevice, !isWhiteout, !caller.passesChecks { throw .notPermitted }
      return try makeInode(
        kind, mode: mode, in: parentBits,
        payload: kind == .regular ? .regular(nil) : .special(device: isDevice ? device : 0), by: caller)
    }
  }

  /// symlink(2). `target` is kept as it is.
  ///
  /// - Throws: ENOENT for an empty target; ENAMETOOLONG from PATH_MAX (4096) on; as `create` does.
  func makeSymlink(
    _ name: UnsafeRawBufferPointer, in parent: Inode, target: UnsafeRawBufferPointer, by caller: Caller
  ) throws(Errno) -> Inode {
    if target.isEmpty { throw .noSuchFileOrDirectory }
    if target.count >= 4096 { throw .fileNameTooLong }
    return try add(name, in: parent, by: caller) { parentBits throws(Errno) in
      try makeInode(
        .symbolicLink, mode: 0o777, in: parentBits, payload: .symbolicLink(.make(target)), by: caller)
    }
  }

  /// readlink(2).
  ///
  /// - Throws: EINVAL where it is no symbolic link.
  func target(of inode: Inode, _ accessTimes: AccessTimes = .relative) throws(Errno) -> FileName {
    try inode.lock.withLock { () throws(Errno) in
      guard case .symbolicLink(let target) = inode.payload else { throw .invalidArgument }
      inode.markAccessedLocked(accessTimes)
      return target
    }
  }

  /// link(2), and linkat(2) of a file made with O_TMPFILE.
  ///
  /// - Throws: EPERM for a directory, EEXIST, EMLINK, ENOENT, ENAMETOOLONG, EACCES.
  func link(
    _ inode: Inode, as name: UnsafeRawBufferPointer, in parent: Inode, by caller: Caller
  ) throws(Errno) {
    _ = try add(name, in: parent, by: caller) { _ throws(Errno) in
      if inode.kind == .directory || inode.isSnapshot { throw .notPermitted }
      try inode.lock.withLock { () throws(Errno) in
        if inode.linkCount == .max { throw .tooManyLinks }
        if inode.linkCount == 0, !inode.isLinkable { throw .noSuchFileOrDirectory }
        // As on tmpfs a further name counts as an inode: it takes memory that no other limit knows.
        if inode.linkCount > 0 { try quota.reserve() }
        inode.linkCount += 1
        inode.isLinkable = false
        inode.endOrphanLocked()
        inode.changed = .now
      }
      return inode
    }
    announceAttributes(of: inode, by: caller)
  }

  /// unlink(2).
  ///
  /// - Throws: ENOENT, EISDIR, EPERM, EACCES.
  func unlink(_ name: UnsafeRawBufferPointer, in parent: Inode, by caller: Caller) throws(Errno) {
    try removeEntry(name, in: parent, by: caller) { directory, name, inode throws(Errno) in
      if inode.kind == .directory { throw .isDirectory }
      removeLocked(name, inode, from: parent, directory)
    }
  }

  /// unlink(2), if the name still is that of `inode`.
  ///
  /// - Throws: ENOENT, also where the name is another file's; EPERM, EACCES.
  func unlink(
    _ name: UnsafeRawBufferPointer, of inode: Inode, in parent: Inode, by caller: Caller
  ) throws(Errno) {
    try removeEntry(name, in: parent, by: caller) { directory, name, found throws(Errno) in
      if found !== inode { throw .noSuchFileOrDirectory }
      removeLocked(name, inode, from: parent, directory)
    }
  }

  /// rmdir(2).
  ///
  /// - Throws: ENOENT, ENOTDIR, ENOTEMPTY, EPERM, EACCES.
  func removeDirectory(_ name: UnsafeRawBufferPointer, in parent: Inode, by caller: Caller) throws(Errno) {
    try removeEntry(name, in: parent, by: caller) { directory, name, inode throws(Errno) in
      let now = try inode.lock.withLock { () throws(Errno) in try markRemovedDirectoryLocked(inode) }
      directory.remove(name)
      parent.linkCount -= 1
      parent.touchLocked(now)
    }
  }

  // MARK: - Shared steps

  /// Finds what `name` points to, and runs `remove` on it with the directory locked.
  private func removeEntry(
    _ name: UnsafeRawBufferPointer, in parent: Inode, by caller: Caller,
    _ remove: (Directory, NameKey, Inode) throws(Errno) -> Void
  ) throws(Errno) {
    try checkNotReserved(name, in: parent)
    let removed = try parent.lock.withLock { () throws(Errno) in
      let directory = try parent.directoryLocked()
      if name.count > FileName.maximumLength { throw .fileNameTooLong }
      let key = directory.key(for: name)
      guard let inode = directory.find(key) else { throw .noSuchFileOrDirectory }
      try parent.checkRemovalLocked(of: inode, by: caller)
      try remove(directory, key, inode)
      return inode
    }
    announceEntry(name, in: parent, by: caller)
    announceAttributes(of: removed, by: caller)
  }

  /// Puts what `make` returns under `name`, which must be free.
  ///
  /// `make` runs with the directory locked, so that nobody sees a name without its inode.
  private func add(
    _ name: UnsafeRawBufferPointer, in parent: Inode, by caller: Caller, orUseExisting: Bool = false,
    _ make: (Birthplace) throws(Errno) -> Inode
  ) throws(Errno) -> Inode {
    if name.count > FileName.maximumLength { throw .fileNameTooLong }
    try checkNotReserved(name, in: parent)
    let creator = commands.creator(caller.process)
    let (inode, isNew) = try waitingForReclaim { () throws(Errno) in
      try addOnce(name, in: parent, by: caller, orUseExisting: orUseExisting, creator, make)
    }
    if isNew { announceEntry(name, in: parent, by: caller) }
    return inode
  }

  private func addOnce(
    _ name: UnsafeRawBufferPointer, in parent: Inode, by caller: Caller, orUseExisting: Bool, _ creator: Creator,
    _ make: (Birthplace) throws(Errno) -> Inode
  ) throws(Errno) -> (Inode, isNew: Bool) {
    try parent.lock.withLock { () throws(Errno) -> (Inode, isNew: Bool) in
      let directory = try parent.directoryLocked()
      let key = directory.key(for: name)
      if let existing = directory.find(key) {
        guard orUseExisting else { throw .fileExists }
        if existing.kind == .directory { throw .isDirectory }
        return (existing, false)
      }
      if parent.linkCount == 0 { throw .noSuchFileOrDirectory }
      try parent.checkAccessLocked([.write, .execute], by: caller)
      if parent.linkCount == .max { throw .tooManyLinks }
      try checkRoomLocked(in: directory)
      let now = Timestamp.now
      let inode = try make(Birthplace(group: parent.group, mode: parent.mode, creator: creator, time: now))
      let fileName = FileName.make(name)
      directory.insert(fileName, key, inode)
      if inode.kind == .directory { parent.linkCount += 1 }
      noteName(fileName, of: inode, in: parent)
      parent.touchLocked(now)
      return (inode, true)
    }
  }

  /// - Throws: ENOSPC where there is no memory for tables that have to grow for one more entry.
  ///
  /// Preconditions: the directory's lock is held.
  @inline(__always)
  func checkRoomLocked(in directory: Directory) throws(Errno) {
    let growth = directory.growth
    if growth > 1 << 20 { try headroom.look(for: growth) }
  }

  /// Takes away an entry that is no directory.
  ///
  /// Preconditions: `parent.lock` is held and `name` points to `inode`.
  func removeLocked(_ name: NameKey, _ inode: Inode, from parent: Inode, _ directory: Directory) {
    directory.remove(name)
    let now = inode.lock.withLock { dropLinkLocked(inode) }
    dropName(name.bytes, of: inode, in: parent)
    parent.touchLocked(now)
  }

  /// Takes one name from the count of something that is no directory.
  ///
  /// Preconditions: `inode.lock` is held.
  ///
  /// - Returns: when it changed.
  @discardableResult
  func dropLinkLocked(_ inode: Inode) -> Timestamp {
    inode.linkCount -= 1
    let now = Timestamp.now
    inode.changed = now
    if inode.linkCount > 0 { quota.release() } else { removedLastNameLocked(inode) }
    return now
  }

  /// Marks an empty directory as removed: it takes no more entries.
  ///
  /// - Throws: ENOTDIR, ENOTEMPTY.
  ///
  /// Preconditions: the locks of its parent and its own are held.
  ///
  /// - Returns: when it changed.
  @discardableResult
  func markRemovedDirectoryLocked(_ inode: Inode) throws(Errno) -> Timestamp {
    let directory = try inode.directoryLocked()
    if !directory.isEmpty { throw .directoryNotEmpty }
    inode.linkCount = 0
    let now = Timestamp.now
    inode.changed = now
    removedLastNameLocked(inode)
    return now
  }

  /// Preconditions: `inode.lock` is held.
  private func removedLastNameLocked(_ inode: Inode) {
    quota.nameRemoved()
    inode.becomeOrphanLocked()
  }

  /// - Throws: EPERM for names in the status directory and for the status directory itself.
  func checkNotReserved(_ name: UnsafeRawBufferPointer, in parent: Inode) throws(Errno) {
    if parent === statusDirectory || isStatusDirectory(name, in: parent) { throw .notPermitted }
  }

  // MARK: - Names of files that vanish at their last close

  func noteName(_ name: FileName, of inode: Inode, in parent: Inode) {
    guard configuration.lifetime == .close, inode.kind == .regular else { return }
    inode.lock.withLock { inode.names.append(.init(directory: parent, name: name)) }
  }

  func dropName(_ name: UnsafeRawBufferPointer, of inode: Inode, in parent: Inode) {
    guard configuration.lifetime == .close, inode.kind == .regular else { return }
    inode.lock.withLock { inode.names.removeAll { $0.directory === parent && $0.name.equals(name) } }
  }

  /// Takes a descriptor of this process back, and tells a mount of the names that went with it.
  func endUse(of inode: Inode, by caller: Caller) {
    for entry in closed(inode) {
      entry.name.withBytes { announceEntry($0, in: entry.directory, by: caller) }
    }
  }

  /// Counts a descriptor of `inode`.
  func opened(_ inode: Inode) {
    inode.lock.withLock { inode.openCount += 1 }
  }

  /// Takes a descriptor back. Where files live until their last close, the last one takes all names of a regular file
  /// away.
  ///
  /// - Returns: the entries that were removed.
  func closed(_ inode: Inode) -> [(directory: Inode, name: FileName)] {
    let names = inode.lock.withLock { () -> [Inode.NameReference] in
      inode.openCount -= 1
      return inode.openCount == 0 ? inode.names : []
    }
    var removed: [(directory: Inode, name: FileName)] = []
    for reference in names {
      guard let parent = reference.directory else { continue }
      parent.lock.withLock {
        guard let directory = try? parent.directoryLocked() else { return }
        reference.name.withBytes { bytes in
          let name = directory.key(for: bytes)
          // Opened or renamed in the meantime: not ours to remove.
          guard directory.find(name) === inode, inode.lock.withLock({ inode.openCount == 0 }) else { return }
          removeLocked(name, inode, from: parent, directory)
          removed.append((parent, reference.name))
        }
      }
    }
    return removed
  }
}
