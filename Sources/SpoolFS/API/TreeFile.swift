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
