internal import Glibc
import SpoolStorage
public import SystemPackage

extension FileSystem {
  /// Makes a directory. The corresponding C function is `mkdir`.
  ///
  /// - Parameter withIntermediateDirectories: also makes what is missing above it, and is content with a directory that
  ///   exists (`mkdir -p`).
  /// - Throws: ``SpoolFSError`` with EEXIST, ENOENT, ENOTDIR, EACCES, ENOSPC.
  public func createDirectory(
    at path: FilePath, permissions: FilePermissions = .ownerReadWriteExecute,
    withIntermediateDirectories: Bool = false
  ) throws(SpoolFSError) {
    let caller = Caller.current()
    try wrap("make the directory", path) { () throws(Errno) in
      guard withIntermediateDirectories else {
        return try makeDirectory(path, permissions, by: caller)
      }
      var partial = FilePath(root: path.root, [])
      for component in path.components {
        partial.append(component)
        if (try? resolve(partial, by: caller))?.kind == .directory { continue }
        do throws(Errno) { try makeDirectory(partial, permissions, by: caller) } catch .fileExists {
          // Somebody else was faster, or something that is no directory is in the way.
          if try resolve(partial, by: caller).kind != .directory { throw .fileExists }
        }
      }
    }
  }

  /// Makes a symbolic link to `target`, which is kept as it is. The corresponding C function is `symlink`.
  public func createSymbolicLink(at path: FilePath, to target: FilePath) throws(SpoolFSError) {
    let caller = Caller.current()
    try wrap("make the symbolic link", path) { () throws(Errno) in
      let place = try place(of: path, by: caller)
      let target = Place(parent: place.parent, name: target.bytes)
      _ = try place.withName { name throws(Errno) in
        try target.withName { target throws(Errno) in
          try makeSymlink(name, in: place.parent, target: target, by: caller)
        }
      }
    }
  }

  /// What a symbolic link points to. The corresponding C function is `readlink`.
  public func destination(ofSymbolicLink path: FilePath) throws(SpoolFSError) -> FilePath {
    try wrap("read the symbolic link", path) { () throws(Errno) in
      FilePath(bytes: try target(of: resolve(path, followingLast: false, by: .current())).bytes)
    }
  }

  /// Gives a file one more name. The corresponding C function is `link`.
  public func createHardLink(at path: FilePath, to existing: FilePath) throws(SpoolFSError) {
    let caller = Caller.current()
    try wrap("make the link", path) { () throws(Errno) in
      let inode = try resolve(existing, followingLast: false, by: caller)
      let place = try place(of: path, by: caller)
      try place.withName { name throws(Errno) in try link(inode, as: name, in: place.parent, by: caller) }
    }
  }

  /// Makes a FIFO, for programs that reach the tree through a mount. The corresponding C function is `mkfifo`.
  public func createFIFO(at path: FilePath, permissions: FilePermissions = .ownerReadWrite) throws(SpoolFSError) {
    let caller = Caller.current()
    try wrap("make the FIFO", path) { () throws(Errno) in
      let place = try place(of: path, by: caller)
      _ = try place.withName { name throws(Errno) in
        try makeNode(
          name, in: place.parent, mode: FileKind.fifo.typeBits | UInt32(permissions.rawValue), device: 0, by: caller)
      }
    }
  }

  /// How ``rename(_:to:_:)`` treats something at the new path.
  public enum RenameMode: Sendable {
    /// It is replaced in one step.
    case replacing
    /// EEXIST (RENAME_NOREPLACE).
    case notReplacing
    /// The two change places (RENAME_EXCHANGE).
    case exchanging
  }

  /// Gives a file or directory another path. The corresponding C function is `renameat2`.
  ///
  /// - Throws: ``SpoolFSError`` with ENOENT, EEXIST, ENOTEMPTY, EISDIR, ENOTDIR, EINVAL (a directory into itself),
  ///   EACCES, EPERM.
  public func rename(
    _ path: FilePath, to newPath: FilePath, _ mode: RenameMode = .replacing
  ) throws(SpoolFSError) {
    let caller = Caller.current()
    let flags: RenameFlags =
      switch mode {
      case .replacing: []
      case .notReplacing: .noReplace
      case .exchanging: .exchange
      }
    try wrap("rename", path) { () throws(Errno) in
      let old = try place(of: path, by: caller)
      let new = try place(of: newPath, by: caller)
      try old.withName { name throws(Errno) in
        try new.withName { newName throws(Errno) in
          try rename(name, in: old.parent, to: newName, in: new.parent, flags: flags, by: caller)
        }
      }
    }
  }

  /// Removes a file or an empty directory. The corresponding C function is `remove`.
  ///
  /// - Throws: ``SpoolFSError`` with ENOENT, ENOTEMPTY, EACCES, EPERM.
  public func remove(_ path: FilePath) throws(SpoolFSError) {
    let caller = Caller.current()
    try wrap("remove", path) { () throws(Errno) in
      let place = try place(of: path, by: caller)
      try place.withName { name throws(Errno) in
        do throws(Errno) { try unlink(name, in: place.parent, by: caller) } catch .isDirectory {
          try removeDirectory(name, in: place.parent, by: caller)
        }
      }
    }
  }

  /// Removes a file, or a directory with all that is in it; links are removed, not followed (`rm -r`).
  ///
  /// - Throws: ``SpoolFSError`` as ``remove(_:)``; what was removed until then stays removed.
  /// - Complexity: linear in the number of entries.
  public func removeAll(_ path: FilePath) throws(SpoolFSError) {
    let caller = Caller.current()
    try wrap("remove", path) { () throws(Errno) in try removeAll(at: place(of: path, by: caller), by: caller) }
  }

  func removeAll(at top: Place, by caller: Caller) throws(Errno) {
    var pending = [top]
    while let place = pending.last {
      do throws(Errno) {
        try place.withName { name throws(Errno) in
          do throws(Errno) { try unlink(name, in: place.parent, by: caller) } catch .isDirectory {
            try removeDirectory(name, in: place.parent, by: caller)
          }
        }
        pending.removeLast()
      } catch .directoryNotEmpty {
        do throws(Errno) {
          pending += try children(of: place, by: caller)
        } catch .noSuchFileOrDirectory, .notDirectory {
          continue  // somebody else removed or replaced it
        }
      } catch .noSuchFileOrDirectory where pending.count > 1 {
        pending.removeLast()  // somebody else removed it
      }
    }
  }

  /// The entries of a directory, "." and ".." left out, in the order they were made. The corresponding C function is
  /// `readdir`.
  public func entries(of path: FilePath = "/") throws(SpoolFSError) -> [DirectoryEntry] {
    let caller = Caller.current()
    return try wrap("list", path) { () throws(Errno) in
      var entries: [DirectoryEntry] = []
      try enumerate(resolve(path, by: caller), after: Directory.firstCookie - 1, by: caller) { name, inode, _ in
        if let component = FilePath(bytes: Array(name)).lastComponent {
          entries.append(DirectoryEntry(name: component, kind: inode.kind, inode: inode.number))
        }
        return true
      }
      entries.reverse()
      return entries
    }
  }

  private func makeDirectory(
    _ path: FilePath, _ permissions: FilePermissions, by caller: Caller
  ) throws(Errno) {
    let place = try place(of: path, by: caller)
    _ = try place.withName { name throws(Errno) in
      try makeDirectory(name, in: place.parent, mode: UInt32(permissions.rawValue), by: caller)
    }
  }

  private func children(of place: Place, by caller: Caller) throws(Errno) -> [Place] {
    let inode = try place.withName { name throws(Errno) in try lookup(name, in: place.parent, by: caller) }
    var children: [Place] = []
    try enumerate(inode, after: Directory.firstCookie - 1, by: caller) { name, _, _ in
      children.append(Place(parent: inode, name: Array(name)))
      return true
    }
    return children
  }
}
