internal import CSpoolSystem
internal import Glibc
internal import SpoolFS
internal import SpoolStorage
internal import SystemPackage
internal import TemporaryFiles

/// A directory of our own with a mount point in it, under a short path.
///
/// Its owner holds a lock (flock(2)) on it for as long as it or its guardian lives. Whoever gets the lock knows that both
/// are dead and may clear the directory away, without asking a mount that might not answer.
struct PrivateDirectory {
  private static let mountPointName = "tmp"
  /// A file in it that says whose it is: anybody may have a directory with such a name, and things of his own in it.
  private static let markName = ".spoolfs-run"

  let path: FilePath
  /// Whether others can make entries beside it.
  let isInSharedDirectory: Bool
  /// The open directory, with the lock.
  let lock: FileDescriptor
  /// The mount point as it is without the mount.
  private let bare: FileDescriptor?

  var mountPoint: FilePath { path.appending(Self.mountPointName) }

  /// Makes a directory with mode 0700, or with 0711 when others are to find the way to the mount in it.
  init(openToOthers: Bool) throws(CommandFailure) {
    let base = try BaseDirectory.choose()
    do throws(Errno) {
      self = try Self.make(in: base, openToOthers: openToOthers)
    } catch {
      let kind = error == .permissionDenied ? CommandFailure.Kind.noPermission : .other
      throw CommandFailure(kind, "cannot make a directory in \(base.path.escaped)", error)
    }
  }

  /// One that exists already.
  ///
  /// - Parameter lock: the open directory, with the lock.
  init(at path: FilePath, isInSharedDirectory: Bool, lock: FileDescriptor) {
    self.init(path, isInSharedDirectory, lock, bare: nil)
  }

  private init(_ path: FilePath, _ isInSharedDirectory: Bool, _ lock: FileDescriptor, bare: FileDescriptor?) {
    self.path = path
    self.isInSharedDirectory = isInSharedDirectory
    self.lock = lock
    self.bare = bare
  }

  private static func make(in base: BaseDirectory, openToOthers: Bool) throws(Errno) -> PrivateDirectory {
    for _ in 0..<TemporaryName.maximumAttempts {
      if let directory = try make(base.randomPath(), in: base, openToOthers) { return directory }
    }
    throw .fileExists
  }

  /// Makes and locks the directory. Nil: the name is taken, or somebody who takes the new directory for a dead one's
  /// clears it away before it is locked.
  private static func make(
    _ path: FilePath, in base: BaseDirectory, _ openToOthers: Bool
  ) throws(Errno) -> PrivateDirectory? {
    guard path.withPlatformString({ mkdir($0, 0o700) }) == 0 else {
      if errno == EEXIST { return nil }
      throw currentErrno()
    }
    var lock: FileDescriptor?
    do throws(Errno) {
      let directory = try open(path)
      lock = directory
      try retryingInterrupts { flock(directory.rawValue, LOCK_EX | LOCK_NB) }
      try mark(directory)
      try retryingInterrupts { mkdirat(directory.rawValue, mountPointName, 0o700) }
      let bare = try open(FilePath(mountPointName), in: directory.rawValue)
      try retryingInterrupts { fchmod(directory.rawValue, openToOthers ? 0o711 : 0o700) }
      return PrivateDirectory(path, base.isShared, directory, bare: bare)
    } catch {
      if error != .noSuchFileOrDirectory, error != .wouldBlock {
        for name in [mountPointName, markName] { _ = path.appending(name).withPlatformString { Glibc.remove($0) } }
        _ = path.withPlatformString { rmdir($0) }
      }
      try? lock?.close()
      if error == .noSuchFileOrDirectory || error == .wouldBlock { return nil }
      throw error
    }
  }

  private static func mark(_ directory: FileDescriptor) throws(Errno) {
    let flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC
    close(try retryingInterrupts { spool_openat(directory.rawValue, markName, flags, 0o600) })
  }

  private var isMarked: Bool {
    var status = stat()
    return fstatat(lock.rawValue, Self.markName, &status, AT_SYMLINK_NOFOLLOW) == 0
      && status.st_mode & S_IFMT == S_IFREG && status.st_uid == geteuid()
  }

  private static func open(_ path: FilePath, in directory: Int32 = AT_FDCWD) throws(Errno) -> FileDescriptor {
    let flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC
    return FileDescriptor(
      rawValue: try retryingInterrupts { path.withPlatformString { spool_openat(directory, $0, flags, 0) } })
  }

  /// Sees to it that nothing can be made in the mount point when the mount has gone: programs may still have its path.
  /// Called when it is mounted.
  func sealMountPoint() {
    guard let bare else { return }
    fchmod(bare.rawValue, 0)
    // Permissions do not keep root's programs out. Where the filesystem has no such flag, what they make is removed.
    if geteuid() == 0 { _ = spool_set_immutable(bare.rawValue, 1) }
    try? bare.close()
  }
}

// MARK: - The end

extension PrivateDirectory {
  /// How often a directory that is being filled is emptied.
  private static let maximumPasses = 32
  private static let retiredName = "gone"

  /// Takes our mounts away, and removes everything in the directory. Nothing can be made under the mount point's path then.
  ///
  /// - Throws: EBUSY where something is mounted still.
  func clear() throws(Errno) {
    unmount()
    fchmod(lock.rawValue, 0o700)
    try unsealMountPoint()
    // Its path leads nowhere from here on, so that it stays as empty as it gets.
    renameat(lock.rawValue, Self.mountPointName, lock.rawValue, Self.retiredName)
    try removeEntries()
    // For programs of this user: they would make the mount point anew as a plain directory.
    fchmod(lock.rawValue, 0o500)
  }

  /// Removes the cleared directory and lets go of its lock. Made in it since can only have been what programs made there.
  func remove() throws(Errno) {
    defer { try? lock.close() }
    for _ in 0..<Self.maximumPasses {
      if path.withPlatformString({ rmdir($0) }) == 0 { return }
      let error = currentErrno()
      if error == .noSuchFileOrDirectory { return }
      guard error == .directoryNotEmpty || error == .fileExists else { throw error }
      fchmod(lock.rawValue, 0o700)
      try removeEntries()
    }
    throw .directoryNotEmpty
  }

  private func unmount() {
    for _ in 0..<Self.maximumPasses {
      guard let mount = try? MountTable.top(at: mountPoint), mount.isSpoolFS,
        (try? MountPoint.unmount(mountPoint, lazily: true)) != nil
      else { return }
    }
  }

  /// Undoes `sealMountPoint`. A mount point that is gone, or no directory any more, is nothing to worry about here.
  private func unsealMountPoint() throws(Errno) {
    let point = spool_open_subdirectory(lock.rawValue, Self.mountPointName, geteuid() == 0 ? O_RDONLY : spool_O_PATH)
    if point < 0 {
      if errno == EXDEV { throw .resourceBusy }
      return
    }
    defer { close(point) }
    if geteuid() == 0 { _ = spool_set_immutable(point, 0) }
    _ = spool_chmod_path_descriptor(point, 0o700)
  }

  private func removeEntries() throws(Errno) {
    // Not by its path, which somebody else may have by now if the directory was removed.
    let directory = FilePath("/proc/self/fd/\(lock.rawValue)")
    for _ in 0..<Self.maximumPasses {
      let names = directoryEntries(directory)
      if names.isEmpty { return }
      // The mark last, so that the next run can go on where this one is killed.
      let others = names.filter { $0 != Self.markName }
      for name in others.isEmpty ? names : others { try DirectoryTree.remove(directory.appending(name)) }
    }
    throw .directoryNotEmpty
  }
}

// MARK: - What others left

extension PrivateDirectory {
  /// Clears away what killed processes of this user left behind: their mounts, and the directories of these.
  static func reclaimStale() {
    for base in BaseDirectory.all() {
      for path in base.directories() { reclaim(path, in: base) }
    }
  }

  /// Clears the directory at `path` if it is one of this user's whose owner is dead, and removes it unless its name must
  /// not become somebody else's yet. One without the mark is removed if it is empty, and otherwise left alone.
  private static func reclaim(_ path: FilePath, in base: BaseDirectory) {
    var status = stat()
    guard let lock = try? open(path) else { return }
    guard fstat(lock.rawValue, &status) == 0, status.st_uid == geteuid(),
      flock(lock.rawValue, LOCK_EX | LOCK_NB) == 0
    else { return (try? lock.close()) ?? () }
    let directory = PrivateDirectory(at: path, isInSharedDirectory: base.isShared, lock: lock)
    let isCleared = !directory.isMarked || (try? directory.clear()) != nil
    if isCleared, !base.isShared || !mayHaveUsers(path) { _ = path.withPlatformString { rmdir($0) } }
    try? lock.close()
  }

  /// Whether some process may still use the path. A process that cannot be asked in time may.
  private static func mayHaveUsers(_ path: FilePath) -> Bool {
    TimeLimit.value(within: .seconds(1)) { PathUsers.exist(of: path) } ?? true
  }
}
