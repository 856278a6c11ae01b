import SpoolStorage
internal import SystemPackage

extension FileSystem {
  /// readdir(3): calls `body` with name, inode and cookie of each entry that a listing has before it, until `body` returns
  /// false. "." and ".." come first, then the entries from the newest to the oldest.
  ///
  /// - Parameter cookie: that of the entry that the listing has come to; 0 at its beginning.
  ///
  /// `body` runs with the directory locked (but for "." and ".."): it may lock an entry's inode, no other directory.
  ///
  /// - Throws: ENOTDIR, EACCES.
  /// - Complexity: O(log n) to begin, then linear in what is visited.
  func enumerate(
    _ inode: Inode, after cookie: UInt64, _ accessTimes: AccessTimes = .relative, by caller: Caller,
    _ body: (UnsafeRawBufferPointer, Inode, UInt64) -> Bool
  ) throws(Errno) {
    let parent = try inode.lock.withLock { () throws(Errno) in
      _ = try inode.directoryLocked()
      try inode.checkAccessLocked(.read, by: caller)
      inode.markAccessedLocked(accessTimes)
      return inode.parent ?? inode
    }
    if cookie < 1, !body(Self.bytes(of: "."), inode, 1) { return }
    if cookie < 2, !body(Self.bytes(of: ".."), parent, 2) { return }
    if inode === statusDirectory { return try enumerateStatus(after: cookie, by: caller, body) }
    inode.lock.withLock {
      guard case .directory(let directory) = inode.payload else { return }
      directory.forEach(before: cookie < Directory.firstCookie ? .max : cookie) { entry, cookie in
        entry.name.withBytes { body($0, entry.inode, cookie) }
      }
    }
  }

  static func bytes(of text: StaticString) -> UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount)
  }
}
