internal import Glibc
internal import SpoolStorage
internal import SystemPackage

/// Making directories under names that nothing else has, and finding such names.
enum TemporaryEntry {
  /// Finds a name that is not taken and calls `make` with the absolute path, until it does not throw EEXIST.
  ///
  /// - Throws: what `make` throws; `noUsableTemporaryDirectory`, `invalidName`, `namesExhausted`.
  static func withUnusedPath<Result: ~Copyable>(
    in directory: FilePath?, prefix: NameAffix, suffix: NameAffix, for operation: String,
    _ make: (FilePath) throws(Errno) -> Result
  ) throws(TemporaryFileError) -> Result {
    let template = try NameTemplate(prefix: prefix, suffix: suffix, for: operation)
    let parent = try Creation.directory(directory)
    return try template.withUnusedName(for: operation, in: parent) { name throws(Errno) in
      try make(parent.appending(name: name))
    }
  }

  /// A new directory. The corresponding system call is mkdir(2).
  static func makeDirectory(_ path: FilePath, permissions: FilePermissions) throws(Errno) {
    try retryingInterrupts { path.withPlatformString { mkdir($0, permissions.rawValue) } }
  }

  /// Throws EEXIST if there is something under the path, be it a link that leads nowhere.
  static func checkIsUnused(_ path: FilePath) throws(Errno) {
    do throws(Errno) {
      _ = try FileIdentity(at: path)
    } catch .noSuchFileOrDirectory {
      return
    }
    throw .fileExists
  }
}
