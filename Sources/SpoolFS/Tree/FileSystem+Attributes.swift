import SpoolStorage
internal import SystemPackage

/// What statvfs(3) tells.
struct FileSystemStatistics: Sendable {
  /// Bytes; all counts of blocks are in this unit.
  static let blockSize: Int64 = 4096
  var blocks: Int64
  var freeBlocks: Int64
  var inodes: Int64
  var freeInodes: Int64
}

extension FileSystem {
  /// fstat(2).
  func attributes(of inode: Inode) -> Attributes {
    inode.lock.withLock { inode.attributesLocked() }
  }

  /// chmod(2), chown(2), truncate(2) and utimensat(2) in one, as FUSE's SETATTR has it.
  ///
  /// - Returns: the attributes after the change.
  /// - Throws: EPERM, EACCES, EINVAL (size of something that is no regular file), EISDIR, EFBIG, and what `resize`
  ///   throws; nothing is changed then.
  func setAttributes(_ changes: AttributeChanges, of inode: Inode, by caller: Caller) throws(Errno) -> Attributes {
    if inode.isSnapshot || inode === statusDirectory { throw .notPermitted }
    try inode.lock.withLock { () throws(Errno) in try inode.checkChangesLocked(changes, by: caller) }
    var wasCut = false
    if let size = changes.size { wasCut = try resize(inode, to: size) }
    let attributes = inode.lock.withLock {
      applyLocked(changes, to: inode, by: caller)
      setTimesLocked(changes, of: inode, wasCut: wasCut, by: caller)
      if changes.size != nil, !caller.passesChecks { inode.dropPrivilegeBitsLocked(by: caller) }
      return inode.attributesLocked()
    }
    announceAttributes(of: inode, by: caller)
    if let size = changes.size { announceContents(of: inode, at: size, count: 0, by: caller) }
    return attributes
  }

  /// ftruncate(2): an open descriptor needs no further permission, and both times move also where the size stays.
  ///
  /// - Throws: EINVAL, EFBIG, and what `FileContent.resize` throws.
  func resize(_ inode: Inode, to size: Int64, by caller: Caller) throws(Errno) {
    _ = try resize(inode, to: size)
    inode.lock.withLock {
      inode.touchLocked()
      if !caller.passesChecks { inode.dropPrivilegeBitsLocked(by: caller) }
    }
    announceAttributes(of: inode, by: caller)
    announceContents(of: inode, at: size, count: 0, by: caller)
  }

  private func applyLocked(_ changes: AttributeChanges, to inode: Inode, by caller: Caller) {
    if changes.dropsPrivileges { inode.dropPrivilegeBitsLocked(by: caller) }
    if changes.user != nil || changes.group != nil {
      inode.dropPrivilegeBitsLocked(by: caller)  // by the group it had
      if let user = changes.user { inode.user = user }
      if let group = changes.group { inode.group = group }
    }
    if let mode = changes.mode {
      inode.mode = mode & ModeBits.all
      inode.isLosingPrivileges = false
      if !caller.passesChecks, !caller.isMember(of: inode.group) { inode.mode &= ~ModeBits.setGroup }
    }
  }

  private func setTimesLocked(_ changes: AttributeChanges, of inode: Inode, wasCut: Bool, by caller: Caller) {
    if changes.isResize, !wasCut { return }
    let isStampedByKernel = inode.isStampedByKernel(for: caller)
    // With the kernel's change time comes what it has stamped at the same moment.
    let now = changes.changed ?? .now
    if wasCut, !isStampedByKernel { inode.modified = now }
    switch changes.accessed {
    case nil: break
    case .now: inode.accessed = now
    case .at(let time): inode.accessed = time
    }
    switch changes.modified {
    case nil: break
    case .now: inode.modified = now
    case .at(let time): inode.modified = time
    }
    if !isStampedByKernel || changes.changed != nil { inode.changed = now }
  }

  /// statvfs(3): the size limit if there is one, else the memory budget and what the disk side can take.
  ///
  /// A full filesystem has no free block; any other has at least one, since programs take zero to mean full.
  ///
  /// - Complexity: O(1).
  func statistics() -> FileSystemStatistics {
    let usage = store.usage
    let block = FileSystemStatistics.blockSize
    let used = usage.dataBytes / block  // whole pages
    let disk = min(
      store.configuration.spillCapacity ?? .max, saturatingSum(usage.diskBytes, store.spillDirectoryFreeBytes()))
    var capacity = saturatingSum(store.configuration.memoryBudget, disk)
    if let limit = store.configuration.sizeLimit { capacity = min(limit, capacity) }
    let blocks = max(capacity / block, used, 1)
    let inodes = Int64(quota.limit ?? Int(Int32.max))
    return FileSystemStatistics(
      blocks: blocks, freeBlocks: blocks - used, inodes: inodes, freeInodes: max(0, inodes - Int64(quota.count)))
  }
}

/// The sum, or the largest number: limits may be as large as that.
private func saturatingSum(_ left: Int64, _ right: Int64) -> Int64 {
  let (sum, overflows) = left.addingReportingOverflow(right)
  return overflows ? .max : sum
}
