internal import Glibc
internal import SpoolFS
internal import SpoolStorage
internal import SystemPackage
internal import TemporaryFiles

/// A directory that `run` makes its private directories in.
struct BaseDirectory {
  /// The variable that names one.
  private static let variable = "SPOOLFS_RUN_DIR"
  private static let system: FilePath = "/run/spoolfs"
  private static let temporary: FilePath = "/tmp"
  private static let randomLength = 8
  /// The longest path of one: the address of a unix socket in the mount has to fit into 108 bytes.
  private static let maximumLength = 40

  /// Without symbolic links.
  let path: FilePath
  /// Whether others may make entries in it. A name that we give up there may be somebody else's next.
  let isShared: Bool
  /// What the names of our directories start with.
  private let prefix: String

  /// The directory for a new private one: what the user names, for root /run/spoolfs, otherwise /tmp. Never
  /// XDG_RUNTIME_DIR: that one is taken away when its user logs out, while programs go on.
  static func choose() throws(CommandFailure) -> BaseDirectory {
    guard let named = environmentPath(variable) else { return makeSystem() ?? BaseDirectory(shared: temporary) }
    do throws(Errno) {
      return try BaseDirectory(named: named)
    } catch {
      throw CommandFailure(.other, "cannot use \(named.escaped) (\(variable))", error)
    }
  }

  /// All directories that have private ones of this user's.
  static func all() -> [BaseDirectory] {
    let named = environmentPath(variable).flatMap { try? BaseDirectory(named: $0) }
    return [named, existingSystem(), BaseDirectory(shared: temporary)].compactMap { $0 }
  }

  /// The paths of the private directories in it, of whomever.
  func directories() -> [FilePath] {
    directoryEntries(path).filter(isOurs).map { path.appending($0) }
  }

  /// A path that most probably nothing has.
  func randomPath() -> FilePath { path.appending(prefix + TemporaryName.random(length: Self.randomLength)) }

  private func isOurs(_ name: String) -> Bool {
    name.hasPrefix(prefix) && name.utf8.count == prefix.utf8.count + Self.randomLength
      && name.utf8.dropFirst(prefix.utf8.count).allSatisfy(TemporaryName.alphabet.contains)
  }

  // MARK: - Kinds

  private init(_ path: FilePath, isShared: Bool, prefix: String = "spoolfs-") {
    self.path = path
    self.isShared = isShared
    self.prefix = prefix
  }

  /// /tmp. The mount table has paths without symbolic links.
  private init(shared path: FilePath) {
    let resolved = (try? MountPoint.absolute(path)) ?? path
    self.init(resolved, isShared: !Self.isClosed(resolved))
  }

  /// - Throws: EINVAL for a relative path, ENAMETOOLONG, and what realpath(3) and access(2) say.
  private init(named path: FilePath) throws(Errno) {
    guard path.isAbsolute else { throw .invalidArgument }
    let resolved = try MountPoint.absolute(path)
    guard resolved.length <= Self.maximumLength else { throw .fileNameTooLong }
    guard resolved.appending(".").withPlatformString({ access($0, W_OK | X_OK) }) == 0 else { throw currentErrno() }
    self.init(resolved, isShared: !Self.isClosed(resolved))
  }

  /// Root's, made where it is missing; nil for others, and where it cannot be had.
  private static func makeSystem() -> BaseDirectory? {
    guard geteuid() == 0 else { return nil }
    // The mode does not depend on the umask.
    if system.withPlatformString({ mkdir($0, 0o700) }) == 0 { _ = system.withPlatformString { chmod($0, 0o755) } }
    return existingSystem()
  }

  private static func existingSystem() -> BaseDirectory? {
    guard geteuid() == 0, isClosed(system), system.withPlatformString({ access($0, W_OK | X_OK) }) == 0 else {
      return nil
    }
    return BaseDirectory(system, isShared: false, prefix: "")
  }

  /// Whether it is a directory in which nobody but this user and root can make anything.
  private static func isClosed(_ path: FilePath) -> Bool {
    var status = stat()
    return path.withPlatformString { lstat($0, &status) } == 0 && status.st_mode & S_IFMT == S_IFDIR
      && (status.st_uid == geteuid() || status.st_uid == 0) && status.st_mode & 0o022 == 0
  }
}
