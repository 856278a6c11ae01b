internal import CSpoolSystem
internal import Glibc
internal import SpoolStorage
internal import SystemPackage

/// Where a temporary file becomes permanent: a name in a directory, which is held open meanwhile.
///
/// Whoever looks at the name finds what was there before or the complete new file, at every moment.
struct PersistTarget: ~Copyable {
  static let operation = "make permanent as"

  let path: FilePath
  private let replacing: Bool
  private let synchronizing: Bool
  private let directory: CInt
  private let name: FilePath

  /// - Throws: `invalidArgument` where the path ends in no name; what opening its directory gives.
  init(_ path: FilePath, replacing: Bool, synchronizing: Bool) throws(TemporaryFileError) {
    guard let last = path.lastComponent, last.kind == .regular else {
      throw TemporaryFileError(
        .invalidArgument, operation: Self.operation, path: path, errno: .invalidArgument,
        message: "the path does not end in a name")
    }
    let parent = path.removingLastComponent()
    // Whoever may make files in a directory may not always list it.
    let access = synchronizing ? O_RDONLY : spool_O_PATH
    directory = try wrap(Self.operation, path) { () throws(Errno) in
      try retryingInterrupts {
        (parent.isEmpty ? "." : parent).withPlatformString {
          spool_openat(AT_FDCWD, $0, access | O_DIRECTORY | O_CLOEXEC, 0)
        }
      }
    }
    self.path = path
    self.replacing = replacing
    self.synchronizing = synchronizing
    name = FilePath(root: nil, [last])
  }

  deinit { Glibc.close(directory) }

  /// Whether a path names the target itself, whatever way it takes there.
  func isNamed(by other: FilePath) -> Bool {
    guard other.lastComponent == path.lastComponent else { return false }
    let parent = other.removingLastComponent()
    var status = stat()
    guard (parent.isEmpty ? "." : parent).withPlatformString({ stat($0, &status) }) == 0,
      let own = try? FileIdentity(of: directory)
    else { return false }
    return FileIdentity(status) == own
  }

  /// What a file made in the target's directory gets from it.
  var inheritance: DirectoryInheritance {
    get throws(Errno) {
      try DirectoryInheritance(of: directory) { () throws(Errno) in
        let file = spool_open_unnamed_at(directory, ".", 0o600)
        if file >= 0 { return file }
        return try makeProbeUnderName()
      }
    }
  }

  /// As where there is no O_TMPFILE.
  private func makeProbeUnderName() throws(Errno) -> CInt {
    for _ in 0..<TemporaryName.maximumAttempts {
      var file: CInt = -1
      do throws(Errno) {
        try FilePath(".tmp" + TemporaryName.random()).withTerminated { (name) throws(Errno) in
          file = try makeExclusively(name)
          unlinkat(directory, name, 0)
        }
      } catch .fileExists { continue }
      return file
    }
    throw .fileExists
  }

  private func makeExclusively(_ name: UnsafePointer<CChar>) throws(Errno) -> CInt {
    let flags = O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC
    return try retryingInterrupts { spool_openat(directory, name, flags, 0o600) }
  }

  /// Renames a file of the same filesystem to the target. One that has that name already replaces nothing, and stays.
  ///
  /// - Throws: EXDEV when it is on another one; EEXIST when the target must not be replaced.
  func move(from source: FilePath, _ file: CInt) throws(Errno) {
    try synchronize(file)
    if !isNamed(by: source) {
      try source.withTerminated { (source) throws(Errno) in try rename(AT_FDCWD, source) }
    }
    synchronizeDirectory()
  }

  /// Gives a file without a name the target's.
  ///
  /// - Throws: EXDEV when it is on another filesystem, ENOENT when it cannot get a name any more; EEXIST.
  func link(_ file: CInt) throws(Errno) {
    try synchronize(file)
    if replacing {
      try withTemporaryName { (temporary) throws(Errno) in
        try retryingInterrupts { spool_link_descriptor(file, directory, temporary) }
      }
    } else {
      try name.withTerminated { (name) throws(Errno) in
        _ = try retryingInterrupts { spool_link_descriptor(file, directory, name) }
      }
    }
    synchronizeDirectory()
  }

  /// Makes a new file in the target's directory, has `fill` write it, and gives it the target's name.
  ///
  /// - Throws: what `fill` throws, with nothing left behind; EEXIST.
  func copy(permissions: mode_t, _ fill: (CInt) throws(Errno) -> Void) throws(Errno) {
    // O_TMPFILE is gone if this process is killed; a name with a random part is what is left for filesystems without.
    let file = spool_open_unnamed_at(directory, ".", 0o600)
    if file < 0 { return try copyUnderName(permissions: permissions, fill) }
    defer { Glibc.close(file) }
    try fill(file)
    try retryingInterrupts { fchmod(file, permissions) }
    do throws(Errno) { try link(file) } catch .noSuchFileOrDirectory {
      // No /proc to link by: once more, with a name.
      try copyUnderName(permissions: permissions, fill)
    }
  }

  /// As `copy`, where the new file needs a name from the beginning: a random one, beside the target.
  func copyUnderName(permissions: mode_t, _ fill: (CInt) throws(Errno) -> Void) throws(Errno) {
    var file: CInt = -1
    try withTemporaryName { (temporary) throws(Errno) in
      file = try makeExclusively(temporary)
    } use: { (_) throws(Errno) in
      defer { Glibc.close(file) }
      try fill(file)
      try retryingInterrupts { fchmod(file, permissions) }
      try synchronize(file)
    }
    synchronizeDirectory()
  }

  /// Makes a file under a random name beside the target, and renames it to that.
  private func withTemporaryName(
    _ make: (UnsafePointer<CChar>) throws(Errno) -> Void,
    use: (UnsafePointer<CChar>) throws(Errno) -> Void = { (_) throws(Errno) in }
  ) throws(Errno) {
    for _ in 0..<TemporaryName.maximumAttempts {
      let temporary = FilePath(".tmp" + TemporaryName.random())
      do throws(Errno) { try temporary.withTerminated(make) } catch .fileExists { continue }
      do throws(Errno) {
        try temporary.withTerminated { (temporary) throws(Errno) in
          try use(temporary)
          try rename(directory, temporary)
        }
      } catch {
        _ = temporary.withPlatformString { unlinkat(directory, $0, 0) }
        throw error
      }
      return
    }
    throw .fileExists
  }

  private func rename(_ sourceDirectory: CInt, _ source: UnsafePointer<CChar>) throws(Errno) {
    try name.withTerminated { (name) throws(Errno) in
      do throws(Errno) {
        _ = try retryingInterrupts { spool_rename(sourceDirectory, source, directory, name, replacing ? 1 : 0) }
      } catch .invalidArgument where !replacing {
        // A filesystem without RENAME_NOREPLACE. link(2) does not replace either.
        _ = try retryingInterrupts { linkat(sourceDirectory, source, directory, name, 0) }
        _ = try retryingInterrupts { unlinkat(sourceDirectory, source, 0) }
      }
    }
  }

  private func synchronize(_ file: CInt) throws(Errno) {
    if synchronizing { try retryingInterrupts { fsync(file) } }
  }

  /// The file has its name already: failing now would say that it is still temporary.
  private func synchronizeDirectory() {
    if synchronizing { _ = fsync(directory) }
  }
}

extension FilePath {
  /// `withPlatformString` for bodies that throw an errno.
  func withTerminated(_ body: (UnsafePointer<CChar>) throws(Errno) -> Void) throws(Errno) {
    var failure: Errno?
    withPlatformString { name in
      do throws(Errno) { try body(name) } catch { failure = error }
    }
    if let failure { throw failure }
  }
}
