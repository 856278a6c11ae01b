internal import Glibc
import SpoolStorage
public import SystemPackage
public import TemporaryFiles

// The primitives of TemporaryFiles in a tree: the same types, but paths are those of the tree, and whoever mounts the tree
// sees the names come and go.

extension FileSystem {
  /// A file without a name. The corresponding C function is `open` with `O_TMPFILE`.
  ///
  /// - Parameters:
  ///   - directory: whose group and permissions apply.
  ///   - maximumSize: bytes that the file can hold at most; more gives `sizeLimitExceeded`.
  /// - Throws: `notFound`, `notADirectory`, `permissionDenied`, `noSpace`.
  public func temporaryFile(
    in directory: FilePath = "/", permissions: FilePermissions = .ownerReadWrite, maximumSize: Int64? = nil
  ) throws(TemporaryFileError) -> TemporaryFile {
    let caller = Caller.current()
    let inode = try wrapTemporary(directory) { () throws(Errno) in
      try createUnnamed(in: resolve(directory, by: caller), mode: UInt32(permissions.rawValue), by: caller)
    }
    return TemporaryFile(TreeFile(self, inode, by: caller), maximumSize: maximumSize)
  }

  /// A file with a name in the tree, which is removed when the file is closed or dropped, or as `cleanup` says.
  ///
  /// - Parameters:
  ///   - directory: where in the tree.
  ///   - maximumSize: bytes that the file can hold at most; more gives `sizeLimitExceeded`.
  /// - Throws: `notFound`, `notADirectory`, `permissionDenied`, `noSpace`, `invalidName`.
  public func namedTemporaryFile(
    in directory: FilePath = "/", prefix: NameAffix = TemporaryLocation.prefix, suffix: NameAffix = "",
    permissions: FilePermissions = .ownerReadWrite, cleanup: NamedTemporaryFile.Cleanup = .onClose,
    maximumSize: Int64? = nil
  ) throws(TemporaryFileError) -> NamedTemporaryFile {
    let file = try makeNamedTreeFile(in: directory, prefix, suffix, permissions, threshold: nil)
    return NamedTemporaryFile(file, cleanup: cleanup, maximumSize: maximumSize)
  }

  /// A spooled file with a name in the tree, which is removed when the file is closed or dropped.
  ///
  /// All regular files of a tree are spooled ones; this one has a threshold of its own.
  ///
  /// - Parameters:
  ///   - threshold: the largest size in memory; nil takes that of the tree's store.
  ///   - directory: where in the tree.
  ///   - maximumSize: bytes that the file can hold at most; more gives `sizeLimitExceeded`.
  /// - Throws: `notFound`, `notADirectory`, `permissionDenied`, `noSpace`, `invalidName`.
  public func spooledTemporaryFile(
    threshold: SpoolConfiguration.Threshold? = nil, in directory: FilePath = "/",
    prefix: NameAffix = TemporaryLocation.prefix, suffix: NameAffix = "",
    permissions: FilePermissions = .ownerReadWrite, maximumSize: Int64? = nil
  ) throws(TemporaryFileError) -> SpooledTemporaryFile {
    let file = try makeNamedTreeFile(in: directory, prefix, suffix, permissions, threshold: threshold)
    return SpooledTemporaryFile(file, maximumSize: maximumSize)
  }

  /// A directory in the tree, which is removed with everything in it, also what has no permissions.
  ///
  /// - Parameters:
  ///   - directory: where in the tree.
  ///   - cleanup: when it is removed.
  /// - Throws: `notFound`, `notADirectory`, `permissionDenied`, `noSpace`, `invalidName`.
  public func temporaryDirectory(
    in directory: FilePath = "/", prefix: NameAffix = TemporaryLocation.prefix, suffix: NameAffix = "",
    permissions: FilePermissions = .ownerReadWriteExecute, cleanup: TemporaryDirectory.Cleanup = .onScopeExit
  ) throws(TemporaryFileError) -> TemporaryDirectory {
    let caller = Caller.current()
    let made = try withUnusedPlace(in: directory, prefix, suffix, by: caller) { (name, place, path) throws(Errno) in
      let inode = try makeDirectory(name, in: place.parent, mode: UInt32(permissions.rawValue), by: caller)
      return TreeDirectory(self, inode, at: place, path: path)
    }
    return TemporaryDirectory(made, cleanup: cleanup, ignoringCleanupErrors: false)
  }

  private func makeNamedTreeFile(
    in directory: FilePath, _ prefix: NameAffix, _ suffix: NameAffix, _ permissions: FilePermissions,
    threshold: SpoolConfiguration.Threshold?
  ) throws(TemporaryFileError) -> TreeFile {
    let caller = Caller.current()
    return try withUnusedPlace(in: directory, prefix, suffix, by: caller) { (name, place, path) throws(Errno) in
      let inode = try create(
        name, in: place.parent, mode: UInt32(permissions.rawValue), exclusive: true, by: caller)
      if let threshold { setThreshold(threshold, of: inode) }
      return TreeFile(self, inode, by: caller, at: place, path: path)
    }
  }

  private func withUnusedPlace<Made>(
    in directory: FilePath, _ prefix: NameAffix, _ suffix: NameAffix, by caller: Caller,
    _ make: (UnsafeRawBufferPointer, Place, FilePath) throws(Errno) -> Made
  ) throws(TemporaryFileError) -> Made {
    let parent = try wrapTemporary(directory) { () throws(Errno) in try resolve(directory, by: caller) }
    let template = try NameTemplate(prefix: prefix, suffix: suffix, for: Creation.operation)
    return try template.withUnusedName(for: Creation.operation, in: directory) { (name) throws(Errno) in
      let bytes = UnsafeRawBufferPointer(start: name, count: strlen(name))
      let path = FilePath(root: "/", directory.components).appending(FilePath(platformString: name).components)
      return try make(bytes, Place(parent: parent, name: Array(bytes)), path)
    }
  }

  private func wrapTemporary<Value>(
    _ directory: FilePath, _ body: () throws(Errno) -> Value
  ) throws(TemporaryFileError) -> Value {
    do throws(Errno) { return try body() } catch {
      throw TemporaryFileError(errno: error, operation: Creation.operation, path: directory)
    }
  }
}
