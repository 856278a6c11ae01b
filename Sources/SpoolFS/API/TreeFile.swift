import SpoolStorage
internal import Synchronization
internal import SystemPackage
internal import TemporaryFiles

/// A temporary file of a tree: what its handle reads and writes, and the name that it takes away at the end.
final class TreeFile: FileBacking {
  let path: FilePath?
  private let fileSystem: FileSystem
  private let inode: Inode
  private let caller: Caller
  private let place: FileSystem.Place?
  private let isClosed = Atomic(false)

  /// Counts as a descriptor of `inode` until it is closed.
  init(
    _ fileSystem: FileSystem, _ inode: Inode, by caller: Caller, at place: FileSystem.Place? = nil,
    path: FilePath? = nil
  ) {
    self.fileSystem = fileSystem
    self.inode = inode
    self.caller = caller
    self.place = place
    self.path = path
    fileSystem.opened(inode)
  }

  var size: Int64 { fileSystem.attributes(of: inode).size }

  var isRolledOver: Bool {
    inode.lock.withLock {
      guard case .regular(let content) = inode.payload else { return false }
      return content?.isRolledOver ?? false
    }
  }

  func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int64) throws(Errno) -> Int {
    try fileSystem.read(inode, into: buffer, at: offset)
  }

  func write(_ bytes: UnsafeRawBufferPointer, at offset: Int64) throws(Errno) {
    _ = try fileSystem.write(inode, bytes, at: offset, by: caller)
  }

  func resize(to size: Int64) throws(Errno) {
    try fileSystem.resize(inode, to: size, by: caller)
  }

  func rollOver() throws(Errno) { try fileSystem.rollOver(inode) }

  func remove() throws(Errno) {
    guard let place else { return }
    do throws(Errno) {
      try place.withName { name throws(Errno) in
        try fileSystem.unlink(name, of: inode, in: place.parent, by: caller)
      }
    } catch .noSuchFileOrDirectory {
      // Somebody else removed it, or gave it another name.
    }
  }

  func close(removing: Bool) throws(Errno) {
    guard !isClosed.exchange(true, ordering: .acquiringAndReleasing) else { return }
    defer { fileSystem.endUse(of: inode, by: caller) }
    if removing { try remove() }
  }
}

/// A temporary directory of a tree.
final class TreeDirectory: DirectoryBacking {
  let path: FilePath
  private let fileSystem: FileSystem
  private let inode: Inode
  private let place: FileSystem.Place

  init(_ fileSystem: FileSystem, _ inode: Inode, at place: FileSystem.Place, path: FilePath) {
    self.fileSystem = fileSystem
    self.inode = inode
    self.place = place
    self.path = path
  }

  /// Everything in it goes, whatever its permissions: the tree is this process's, and so is the directory.
  func remove() throws(TemporaryFileError) {
    do throws(Errno) {
      let caller = Caller.local(user: 0, group: 0)
      let found = try place.withName { name throws(Errno) in
        try fileSystem.lookup(name, in: place.parent, by: caller)
      }
      // Another one that took the name stays.
      if found === inode { try fileSystem.removeAll(at: place, by: caller) }
    } catch .noSuchFileOrDirectory {
      // Somebody else removed it.
    } catch {
      throw TemporaryFileError(.cleanupFailed, operation: "remove", path: path, errno: error)
    }
  }
}
