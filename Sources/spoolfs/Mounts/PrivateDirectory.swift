internal import CSpoolSystem
internal import Glibc
internal import SpoolFS
internal import SpoolStorage
internal import SystemPackage
internal import TemporaryFiles

/// A directory of our own with a mount point in it, under a short path: the address of a unix socket in it has to fit
/// into 108 bytes.
///
/// Its owner holds a lock (flock(2)) on it for as long as it lives. Whoever gets the lock knows that the owner is dead
/// and may clear the directory away, without asking a mount that might not answer.
struct PrivateDirectory {
  private static let namePrefix = "spoolfs-"
  private static let randomLength = 8
  private static let standardBase: FilePath = "/tmp"
  /// The longest path of a directory that ours may be in.
  private static let maximumBaseLength = 40

  let path: FilePath
  private let lock: FileDescriptor

  var mountPoint: FilePath { Self.mountPoint(in: path) }

  private static func mountPoint(in directory: FilePath) -> FilePath { directory.appending("tmp") }

  /// Makes a directory with mode 0700, or with 0711 when others are to find the way to the mount in it.
  init(openToOthers: Bool) throws(CommandFailure) {
    var failure = CommandFailure(.other, "there is no directory for the mount point")
    // A runtime directory is closed to others.
    for base in openToOthers ? [Self.standardBase] : Self.bases() {
      do {
        (path, lock) = try Self.create(in: base, openToOthers: openToOthers)
        return
      } catch {
        let kind = error == .permissionDenied ? CommandFailure.Kind.noPermission : .other
        failure = CommandFailure(kind, "cannot make a directory in \(base)", error)
      }
    }
    throw failure
  }

  private static func create(in base: FilePath, openToOthers: Bool) throws(Errno) -> (FilePath, FileDescriptor) {
    for _ in 0..<TemporaryName.maximumAttempts {
      let path = base.appending(namePrefix + TemporaryName.random(length: randomLength))
      if let lock = try create(path, openToOthers: openToOthers) { return (path, lock) }
    }
    throw .fileExists
  }

  /// Makes and locks the directory. Nil: the name is taken, or somebody who takes the new directory for a dead one's
  /// clears it away before it is locked.
  private static func create(_ path: FilePath, openToOthers: Bool) throws(Errno) -> FileDescriptor? {
    guard path.withPlatformString({ mkdir($0, 0o700) }) == 0 else {
      if errno == EEXIST { return nil }
      throw Errno(rawValue: errno)
    }
    var lock: FileDescriptor?
    do throws(Errno) {
      let directory = try open(path)
      lock = directory
      try succeed(flock(directory.rawValue, LOCK_EX | LOCK_NB))
      try succeed(mountPoint(in: path).withPlatformString { mkdir($0, 0o700) })
      try succeed(fchmod(directory.rawValue, openToOthers ? 0o711 : 0o700))
      return directory
    } catch {
      try? lock?.close()
      if error == .noSuchFileOrDirectory || error == .wouldBlock { return nil }
      removeEmpty(path)
      throw error
    }
  }

  private static func succeed(_ result: Int32) throws(Errno) {
    if result != 0 { throw Errno(rawValue: errno) }
  }

  /// Removes the directory, from which nothing may be mounted any more.
  func remove() {
    Self.removeEmpty(path)
    try? lock.close()
  }

  /// The directories that ours are made in, the first one by preference.
  private static func bases() -> [FilePath] {
    guard let base = environmentPath("XDG_RUNTIME_DIR") else { return [standardBase] }
    var status = stat()
    guard base.isAbsolute, base.length <= maximumBaseLength, base.withPlatformString({ stat($0, &status) }) == 0,
      status.st_uid == geteuid(), status.st_mode & S_IFMT == S_IFDIR,
      base.withPlatformString({ access($0, W_OK | X_OK) }) == 0
    else { return [standardBase] }
    return [base, standardBase]
  }

  private static func open(_ path: FilePath) throws(Errno) -> FileDescriptor {
    let flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC
    let descriptor = path.withPlatformString { spool_openat(AT_FDCWD, $0, flags, 0) }
    guard descriptor >= 0 else { throw Errno(rawValue: errno) }
    return FileDescriptor(rawValue: descriptor)
  }

  private static func removeEmpty(_ path: FilePath) {
    _ = mountPoint(in: path).withPlatformString { rmdir($0) }
    _ = path.withPlatformString { rmdir($0) }
  }
}

extension PrivateDirectory {
  /// Clears away what killed processes of this user left behind: their mounts, and the directories of these.
  static func reclaimStale() {
    for base in bases() {
      for name in directoryEntries(base) where isOurs(name) { reclaim(base.appending(name)) }
    }
  }

  private static func isOurs(_ name: String) -> Bool {
    name.hasPrefix(namePrefix) && name.utf8.count == namePrefix.utf8.count + randomLength
      && name.utf8.dropFirst(namePrefix.utf8.count).allSatisfy(TemporaryName.alphabet.contains)
  }

  /// Unmounts and removes the directory at `path` if it is one of this user's whose owner is dead.
  ///
  /// - Parameter ownerIsEnding: wait for its lock: a process that is killed closes its descriptors one after another,
  ///   and the one that tells of its end may be gone before the one with the lock.
  static func reclaim(_ path: FilePath, ownerIsEnding: Bool = false) {
    var status = stat()
    guard let directory = try? open(path) else { return }
    defer { try? directory.close() }
    guard fstat(directory.rawValue, &status) == 0, status.st_uid == geteuid(),
      flock(directory.rawValue, ownerIsEnding ? LOCK_EX : LOCK_EX | LOCK_NB) == 0
    else { return }
    let mountPoint = mountPoint(in: path)
    while let mount = try? MountTable.top(at: mountPoint), mount.isSpoolFS {
      guard (try? MountPoint.unmount(mountPoint, lazily: true)) != nil else { return }
    }
    removeEmpty(path)
  }
}
