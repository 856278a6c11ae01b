import SpoolStorage
internal import SystemPackage

/// Flags of renameat2(2).
struct RenameFlags: OptionSet, Sendable {
  let rawValue: UInt32
  static let noReplace = RenameFlags(rawValue: 1)
  static let exchange = RenameFlags(rawValue: 2)
  /// Leaves a whiteout under the old name: a character device 0/0, overlayfs's mark of a name that was removed.
  static let whiteout = RenameFlags(rawValue: 4)

  /// Whether renameat2(2) knows the flags, and takes them together.
  fileprivate var areValid: Bool {
    isSubset(of: [.noReplace, .exchange, .whiteout]) && (!contains(.exchange) || self == .exchange)
  }
}

extension FileSystem {
  /// renameat2(2).
  ///
  /// - Throws: ENOENT, EEXIST (`.noReplace`), ENOTDIR, EISDIR, ENOTEMPTY, EINVAL (a directory into itself, unknown
  ///   flags), EMLINK, ENAMETOOLONG, EPERM, EACCES, ENOSPC (no inode for a whiteout).
  func rename(
    _ name: UnsafeRawBufferPointer, in parent: Inode, to newName: UnsafeRawBufferPointer, in newParent: Inode,
    flags: RenameFlags = [], by caller: Caller
  ) throws(Errno) {
    if !flags.areValid { throw .invalidArgument }
    try checkNotReserved(name, in: parent)
    try checkNotReserved(newName, in: newParent)
    let creator = flags.contains(.whiteout) ? commands.creator(caller.process) : .unknown

    let (source, target) = try waitingForReclaim { () throws(Errno) in
      try withParentsLocked(parent, newParent) { () throws(Errno) in
        let move = try Move(
          name: name, parent: parent, newName: newName, newParent: newParent, flags: flags, caller: caller)
        if move.source === move.target { return (move.source, move.target) }
        if flags.contains(.exchange) {
          try exchangeLocked(move)
        } else {
          let whiteout = flags.contains(.whiteout) ? try makeWhiteout(for: move, creator, caller) : nil
          try moveLocked(move, leaving: whiteout)
        }
        return (move.source, move.target)
      }
    }
    if source === target { return }
    announceEntry(name, in: parent, by: caller)
    announceEntry(newName, in: newParent, by: caller)
    announceAttributes(of: source, by: caller)
    if let target { announceAttributes(of: target, by: caller) }
  }

  /// Runs `body` with both directories locked, and with the shape of the tree fixed where there are two.
  private func withParentsLocked<Result>(
    _ first: Inode, _ second: Inode, _ body: () throws(Errno) -> Result
  ) throws(Errno) -> Result {
    if first === second { return try first.lock.withLock(body) }
    return try renameLock.withLock { () throws(Errno) in
      let firstComesFirst =
        first.isAncestor(of: second) || (!second.isAncestor(of: first) && first.id < second.id)
      let (outer, inner) = firstComesFirst ? (first, second) : (second, first)
      return try outer.lock.withLock { () throws(Errno) in try inner.lock.withLock(body) }
    }
  }

  /// What a rename is about, with everything checked that does not depend on the kind of rename.
  private struct Move {
    let name: NameKey
    let parent: Inode
    let newName: NameKey
    let newParent: Inode
    let directory: Directory
    let newDirectory: Directory
    let source: Inode
    let target: Inode?

    /// Preconditions: both parents are locked, under the rename lock where they differ.
    init(
      name: UnsafeRawBufferPointer, parent: Inode, newName: UnsafeRawBufferPointer, newParent: Inode,
      flags: RenameFlags, caller: Caller
    ) throws(Errno) {
      self.parent = parent
      self.newParent = newParent
      directory = try parent.directoryLocked()
      newDirectory = try newParent.directoryLocked()
      self.name = directory.key(for: name)
      self.newName = newDirectory.key(for: newName)
      if name.count > FileName.maximumLength { throw .fileNameTooLong }
      guard let source = directory.find(self.name) else { throw .noSuchFileOrDirectory }
      if newName.count > FileName.maximumLength { throw .fileNameTooLong }
      self.source = source
      target = newDirectory.find(self.newName)
      if flags.contains(.noReplace), target != nil { throw .fileExists }
      if flags.contains(.exchange), target == nil { throw .noSuchFileOrDirectory }
      if newParent.linkCount == 0 { throw .noSuchFileOrDirectory }
      if parent !== newParent {
        if source.kind == .directory, source.isAncestor(of: newParent) { throw .invalidArgument }
        if let target, target.kind == .directory, target.isAncestor(of: parent) {
          throw flags.contains(.exchange) ? .invalidArgument : .directoryNotEmpty
        }
      }
      if source === target { return }
      try checkRemoval(caller)
      if let target, !flags.contains(.exchange) {
        if source.kind == .directory, target.kind != .directory { throw .notDirectory }
        if source.kind != .directory, target.kind == .directory { throw .isDirectory }
      }
      try checkParentChange(flags, caller)
    }

    private func checkRemoval(_ caller: Caller) throws(Errno) {
      if caller.passesChecks { return }
      try parent.checkRemovalLocked(of: source, by: caller)
      if let target {
        try newParent.checkRemovalLocked(of: target, by: caller)
      } else {
        try newParent.checkAccessLocked([.write, .execute], by: caller)
      }
    }

    /// A directory that moves gets another "..", which is a change to it.
    private func checkParentChange(_ flags: RenameFlags, _ caller: Caller) throws(Errno) {
      if caller.passesChecks || parent === newParent { return }
      for moved in [source, flags.contains(.exchange) ? target : nil].compactMap({ $0 }) where moved.kind == .directory
      {
        try moved.lock.withLock { () throws(Errno) in try moved.checkAccessLocked(.write, by: caller) }
      }
    }
  }

  /// What takes the place of `move.source`, in no directory yet. Nobody needs a privilege for that.
  ///
  /// Preconditions: both parents are locked.
  private func makeWhiteout(for move: Move, _ creator: Creator, _ caller: Caller) throws(Errno) -> Inode {
    // The answer is ENOTEMPTY rather than ENOSPC.
    if let target = move.target, target.kind == .directory {
      try target.lock.withLock { () throws(Errno) in
        if try !target.directoryLocked().isEmpty { throw .directoryNotEmpty }
      }
    }
    let birthplace = Birthplace(group: move.parent.group, mode: move.parent.mode, creator: creator, time: .now)
    return try makeInode(.characterDevice, mode: 0, in: birthplace, payload: .special(device: 0), by: caller)
  }

  private func moveLocked(_ move: Move, leaving whiteout: Inode?) throws(Errno) {
    let movesDirectory = move.source.kind == .directory
    if let target = move.target {
      _ = try target.lock.withLock { () throws(Errno) in
        if movesDirectory {
          try markRemovedDirectoryLocked(target)
        } else {
          dropLinkLocked(target)
        }
      }
      dropName(move.newName.bytes, of: target, in: move.newParent)
      _ = move.newDirectory.replace(move.newName, with: move.source)
      if movesDirectory { move.newParent.linkCount -= 1 }
    } else {
      if movesDirectory, move.newParent.linkCount == .max { throw .tooManyLinks }
      try checkRoomLocked(in: move.newDirectory)
      move.newDirectory.insert(.make(move.newName.bytes), move.newName, move.source)
    }
    if let whiteout {
      _ = move.directory.replace(move.name, with: whiteout)
    } else {
      move.directory.remove(move.name)
    }
    if movesDirectory {
      move.parent.linkCount -= 1
      move.newParent.linkCount += 1
    }
    let now = settle(move.source, from: (move.name, move.parent), to: (move.newName, move.newParent))
    touchParents(move, at: now)
  }

  private func exchangeLocked(_ move: Move) throws(Errno) {
    guard let target = move.target else { throw .noSuchFileOrDirectory }
    let sourceIsDirectory = move.source.kind == .directory
    if sourceIsDirectory != (target.kind == .directory), move.parent !== move.newParent {
      let (loser, winner) = sourceIsDirectory ? (move.parent, move.newParent) : (move.newParent, move.parent)
      if winner.linkCount == .max { throw .tooManyLinks }
      loser.linkCount -= 1
      winner.linkCount += 1
    }
    _ = move.directory.replace(move.name, with: target)
    _ = move.newDirectory.replace(move.newName, with: move.source)
    _ = settle(move.source, from: (move.name, move.parent), to: (move.newName, move.newParent))
    let now = settle(target, from: (move.newName, move.newParent), to: (move.name, move.parent))
    touchParents(move, at: now)
  }

  /// Gives a moved inode its new place.
  ///
  /// - Returns: when that was.
  private func settle(
    _ inode: Inode, from old: (name: NameKey, parent: Inode), to new: (name: NameKey, parent: Inode)
  ) -> Timestamp {
    let now = inode.lock.withLock {
      if inode.kind == .directory, old.parent !== new.parent { inode.parent = new.parent }
      let now = Timestamp.now
      inode.changed = now
      return now
    }
    dropName(old.name.bytes, of: inode, in: old.parent)
    noteName(.make(new.name.bytes), of: inode, in: new.parent)
    return now
  }

  private func touchParents(_ move: Move, at now: Timestamp) {
    move.parent.touchLocked(now)
    if move.parent !== move.newParent { move.newParent.touchLocked(now) }
  }
}

extension Inode {
  /// Whether `other` is this directory or lies somewhere below it.
  ///
  /// Preconditions: the rename lock is held.
  ///
  /// - Complexity: linear in the depth of `other`.
  fileprivate func isAncestor(of other: Inode) -> Bool {
    var place: Inode? = other
    while let inode = place {
      if inode === self { return true }
      place = inode.parent
    }
    return false
  }
}
