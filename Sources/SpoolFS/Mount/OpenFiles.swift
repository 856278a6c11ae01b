import SpoolStorage
internal import SystemPackage

/// The descriptors that came through the mount, where files vanish at their last close. Unused for other lifetimes.
final class OpenFiles: @unchecked Sendable {
  // @unchecked: `lock` protects the variable. It is held for the dictionary alone, never while the tree is called.
  private let lock = Lock()
  private var counts: [UInt64: (inode: Inode, count: Int)] = [:]

  /// Counts a descriptor of `inode`, new or known.
  func opened(_ inode: Inode, in files: FileSystem) {
    files.opened(inode)
    lock.withLock { counts[inode.id, default: (inode, 0)].count += 1 }
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

  /// Takes a descriptor back. With the last one the file's names go, which the kernel is told of later: whoever closes
  /// may hold the lock of the directory.
  func closed(_ inode: Inode, in session: Session) {
    guard take(inode) else { return }
    for entry in session.files.closed(inode) {
      session.notifier.announceLater(.removed(entry.name, of: inode.id, in: entry.directory.id))
    }
  }

  /// Takes back what is open when the kernel has gone without saying so.
  func closeAll(in files: FileSystem) {
    let left = lock.withLock {
      defer { counts = [:] }
      return counts.values
    }
    for (inode, count) in left {
      for _ in 0..<count { _ = files.closed(inode) }
    }
  }

  private func take(_ inode: Inode) -> Bool {
    lock.withLock {
      guard let known = counts[inode.id] else { return false }
      counts[inode.id] = known.count == 1 ? nil : (inode, known.count - 1)
      return true
    }
  }
}
