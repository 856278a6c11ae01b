internal import Glibc
public import SystemPackage

/// A directory that is removed with everything in it when its owner is done with it: Python's
/// `tempfile.TemporaryDirectory`.
///
/// ```swift
/// var directory = try TemporaryDirectory(prefix: "build-")
/// let log = directory.path.appending("log")
/// …
/// try directory.cleanup()  // or let it go out of scope, which removes it without a word
/// ```
///
/// It goes when ``cleanup()`` is called, when the value goes out of scope, and when the process ends by `exit` or by
/// returning from `main`. It stays if the process is killed (SIGKILL), aborts, ends by a signal that is not handled or by
/// _exit(2), or becomes another program by exec(2). A process that was forked from the one that made it removes it only
/// by calling ``cleanup()``.
///
/// Removal takes place relative to open directories and follows no symbolic link, so nothing outside is touched whatever
/// somebody swaps in while it runs. Directories in it that their owner, the caller, may not list or write are made so
/// first. What is mounted in it is not emptied: such a place is an error and stays, where Python would empty the other
/// filesystem. If the directory has been renamed, it is not there any more and is not looked for; if something else has its
/// name, that stays.
public struct TemporaryDirectory: ~Copyable, Sendable {
  /// When a temporary directory is removed.
  public enum Cleanup: Sendable, Hashable {
    /// When the value goes out of scope, or the process exits: Python's `delete=True`.
    case onScopeExit
    /// Only by calling ``TemporaryDirectory/cleanup()``: Python's `delete=False`.
    case never
  }

  /// The directory's absolute path, also after it has been removed. Python's `name`.
  public let path: FilePath

  /// Whether ``cleanup()`` leaves in silence what cannot be removed.
  public let ignoresCleanupErrors: Bool

  /// Whether ``cleanup()`` has removed the directory, or has found it gone.
  public private(set) var isRemoved = false

  /// When the directory is removed. May be changed as long as it has not been.
  public var cleanupPolicy: Cleanup {
    didSet { updateRegistration() }
  }

  /// nil in a tree.
  private let identity: FileIdentity?
  private let backing: (any DirectoryBacking)?
  private var registration: ExitCleanup.Token?

  /// Makes a directory with a new name, which only its owner may enter. The corresponding system call is mkdir(2).
  ///
  /// - Parameters:
  ///   - directory: where it is made; nil: ``TemporaryLocation/directory``. A relative path starts from the working directory
  ///     of now.
  ///   - prefix: what the name begins with, before twelve random characters.
  ///   - suffix: what it ends with.
  ///   - permissions: who may do what, less the process's umask, as with mkdir(2).
  ///   - cleanup: when it is removed.
  ///   - ignoringCleanupErrors: whether ``cleanup()`` throws nothing.
  /// - Throws: as ``makeTemporaryDirectory(in:prefix:suffix:permissions:)``. Nothing is left then.
  public init(
    in directory: FilePath? = nil, prefix: NameAffix = TemporaryLocation.prefix, suffix: NameAffix = "",
    permissions: FilePermissions = .ownerReadWriteExecute, cleanup: Cleanup = .onScopeExit,
    ignoringCleanupErrors: Bool = false
  ) throws(TemporaryFileError) {
    let path = try makeTemporaryDirectory(in: directory, prefix: prefix, suffix: suffix, permissions: permissions)
    do throws(Errno) { identity = try FileIdentity(at: path) } catch {
      path.withPlatformString { _ = rmdir($0) }
      throw TemporaryFileError(
        errno: error, operation: "make a temporary directory in", path: path.removingLastComponent())
    }
    self.path = path
    backing = nil
    ignoresCleanupErrors = ignoringCleanupErrors
    cleanupPolicy = cleanup
    updateRegistration()
  }

  /// A directory that lives in a tree.
  package init(_ backing: any DirectoryBacking, cleanup: Cleanup, ignoringCleanupErrors: Bool) {
    path = backing.path
    identity = nil
    self.backing = backing
    ignoresCleanupErrors = ignoringCleanupErrors
    cleanupPolicy = cleanup
  }

  deinit {
    guard cleanupPolicy == .onScopeExit, !isRemoved else { return }
    // In a forked process it is the parent's.
    if let registration, !ExitCleanup.isOwn(registration) { return }
    try? remove()
    if let registration { ExitCleanup.unregister(registration) }
  }

  private func remove() throws(TemporaryFileError) {
    if let backing { try backing.remove() } else if let identity { try TreeRemoval.remove(path, identity) }
  }

  private mutating func updateRegistration() {
    let isWanted = cleanupPolicy == .onScopeExit && !isRemoved
    if isWanted, registration == nil, let identity {
      registration = ExitCleanup.register(.directory(path, identity))
    } else if !isWanted, let token = registration {
      ExitCleanup.unregister(token)
      registration = nil
    }
  }

  /// Removes the directory with everything in it, also under ``Cleanup/never``. Once it has been removed, or if somebody
  /// else has removed it, this does nothing. Python's `cleanup()`.
  ///
  /// Whatever appears in it while it runs is removed too, unless that never ends.
  ///
  /// - Throws: `cleanupFailed` if something could not be removed, with the first such path and its `errno`; everything else
  ///   is gone then, and it may be called again. `replaced` if something else has taken the directory's name. With
  ///   ``ignoresCleanupErrors``, nothing.
  /// - Complexity: O(entries) system calls, with a bounded number of open descriptors.
  public mutating func cleanup() throws(TemporaryFileError) {
    guard !isRemoved else { return }
    do throws(TemporaryFileError) {
      try remove()
    } catch {
      if ignoresCleanupErrors { return }
      throw error
    }
    isRemoved = true
    updateRegistration()
  }

  /// Leaves the directory to the caller, who removes it or not: nothing here does so any more.
  ///
  /// - Returns: the path.
  /// - Throws: `notFound` if the directory has been removed; `replaced` if something else has taken its name.
  public mutating func keep() throws(TemporaryFileError) -> FilePath {
    let isReplaced = try wrap("keep", path) { () throws(Errno) in
      guard !isRemoved else { throw .noSuchFileOrDirectory }
      guard let identity else { return false }
      return try FileIdentity(at: path) != identity
    }
    if isReplaced { throw TreeRemoval.replaced(path, "keep") }
    cleanupPolicy = .never
    return path
  }
}
