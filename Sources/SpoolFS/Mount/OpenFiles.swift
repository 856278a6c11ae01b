import SpoolStorage
internal import SystemPackage

/// The descriptors that came through the mount, where files vanish at their last close. Unused for other lifetimes.
///
/// To the tree all descriptors of one file are one. It is closed by the notifier's thread some time after the last of
/// them, when the kernel has dropped the file's names from its caches: a descriptor that is opened by such a name until
/// then keeps the file.
final class OpenFiles: @unchecked Sendable {
  // @unchecked: `lock` protects the variable. It is held for the dictionary alone, never while the tree is called, but
  // for the count of lookups.
  private let lock = Lock()
  /// A count of 0 waits to be closed.
  private var counts: [UInt64: (inode: Inode, count: Int)] = [:]

  /// Counts a descriptor of `inode`, new or known.
  func opened(_ inode: Inode, in files: FileSystem) {
    // Before the dictionary knows it: nobody else may close it then.
    files.opened(inode)
    let isKnown = lock.withLock {
      defer { counts[inode.id, default: (inode, 0)].count += 1 }
      return counts[inode.id] != nil
    }
    // The names stay: the one that counts is open still.
    if isKnown { _ = files.closed(inode) }
  }

  /// Counts a descriptor of an inode that was found by name.
  ///
  /// - Throws: ESTALE where the file has vanished since; the kernel then looks the name up anew. A file that is still
  ///   open somewhere can be opened again (/proc/self/fd) even without a name.
  func reopened(_ inode: Inode, in files: FileSystem) throws(Errno) {
    let isGone = inode.lock.withLock { inode.linkCount == 0 && inode.openCount == 0 }
    if isGone { throw .staleNFSFileHandle }
    opened(inode, in: files)
  }

  /// Takes a descriptor back.
  func closed(_ inode: Inode, in session: Session) {
    let isLast = lock.withLock {
      guard let known = counts[inode.id], known.count > 0 else { return false }
      counts[inode.id] = (inode, known.count - 1)
      return known.count == 1
    }
    if isLast { session.notifier.announceLater(.closed(inode)) }
  }

  /// Takes `inode` out, unless somebody has opened it again, or looked it up since there were `lookups`: a look-up is
  /// often followed by an open.
  ///
  /// - Parameter lookups: nil does not care.
  func take(_ inode: Inode, lookups: UInt64?, in files: FileSystem) -> Taking {
    lock.withLock {
      guard let known = counts[inode.id], known.count == 0 else { return .isOpen }
      if let lookups, lookups != files.lookups(of: inode) { return .wasLookedUp }
      counts[inode.id] = nil
      return .taken
    }
  }

  enum Taking { case taken, isOpen, wasLookedUp }

  /// Closes what is open when the kernel has gone without saying so.
  func closeAll(in files: FileSystem) {
    let left = lock.withLock {
      defer { counts = [:] }
      return counts.values
    }
    for (inode, _) in left { _ = files.closed(inode) }
  }
}
