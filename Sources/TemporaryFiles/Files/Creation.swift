internal import CSpoolSystem
internal import Glibc
internal import SpoolStorage
internal import SystemPackage

/// How files for one owner come to be.
package enum Creation {
  /// O_CREAT with O_EXCL: the name was not there, not even as a link.
  private static let exclusively = O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC

  /// The directory to use: absolute, so that a change of the working directory makes no difference later.
  static func directory(_ directory: FilePath?) throws(TemporaryFileError) -> FilePath {
    guard let directory else { return try TemporaryLocation.directory }
    return TemporaryLocation.absolute(directory) ?? directory
  }

  /// A new file under a name that nobody else has.
  static func makeNamed(
    in directory: FilePath, _ template: borrowing NameTemplate, permissions: FilePermissions
  ) throws(TemporaryFileError) -> (file: CInt, path: FilePath) {
    try template.withUnusedName(for: operation, in: directory) { (name) throws(Errno) in
      let path = directory.appending(name: name)
      let file = try retryingInterrupts {
        path.withPlatformString { spool_openat(AT_FDCWD, $0, exclusively, mode_t(permissions.rawValue)) }
      }
      return (file, path)
    }
  }

  /// A new file without a name: O_TMPFILE where the filesystem has it, else a name that is removed at once.
  static func makeUnnamed(
    in directory: FilePath, _ template: borrowing NameTemplate, permissions: FilePermissions
  ) throws(TemporaryFileError) -> CInt {
    do throws(Errno) {
      return try retryingInterrupts {
        directory.withPlatformString { spool_open_unnamed_at(AT_FDCWD, $0, mode_t(permissions.rawValue)) }
      }
    } catch {
      // EOPNOTSUPP says the filesystem, EISDIR, ENOENT and others a kernel or server that does not know the flag. What
      // has another reason fails again.
      return try makeUnlinked(in: directory, template, permissions: permissions)
    }
  }

  /// A new file whose name is removed at once.
  static func makeUnlinked(
    in directory: FilePath, _ template: borrowing NameTemplate, permissions: FilePermissions
  ) throws(TemporaryFileError) -> CInt {
    let (file, path) = try makeNamed(in: directory, template, permissions: permissions)
    if path.withPlatformString({ unlink($0) }) == 0 { return file }
    let error = currentErrno()
    if error == .noSuchFileOrDirectory { return file }  // somebody else was faster
    close(file)
    throw TemporaryFileError(errno: error, operation: operation, path: path)
  }

  package static let operation = "make a temporary file in"
}

extension FilePath {
  /// The path with one more component. Made in one piece: `append` parses both.
  func appending(name: UnsafePointer<CChar>) -> FilePath {
    if isEmpty { return FilePath(platformString: name) }
    return withPlatformString { directory in
      let (length, nameLength) = (strlen(directory), strlen(name))
      return withUnsafeTemporaryAllocation(of: CChar.self, capacity: length + nameLength + 2) { buffer in
        let path = buffer.baseAddress!
        memcpy(path, directory, length)
        path[length] = CChar(UInt8(ascii: "/"))
        memcpy(path + length + 1, name, nameLength + 1)
        return FilePath(platformString: path)
      }
    }
  }
}
