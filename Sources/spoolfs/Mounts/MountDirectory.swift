internal import Glibc
internal import SpoolFS
internal import SystemPackage

/// The directory that a user names as a mount point.
enum MountDirectory {
  /// The path under which the kernel knows `directory` if it is mounted: absolute and without symbolic links.
  ///
  /// A mount that is there already is not touched, so the answer comes even if its server is dead.
  static func resolve(_ directory: FilePath) throws(CommandFailure) -> FilePath {
    let path = withoutDots(absolute(directory))
    guard let name = path.lastComponent, name.kind == .regular else { return try realPath(path) }
    let candidate = try realPath(path.removingLastComponent()).appending(name)
    if (try? MountTable.top(at: candidate)) != nil { return candidate }
    var status = stat()
    let isLink = candidate.withPlatformString { lstat($0, &status) } == 0 && status.st_mode & S_IFMT == S_IFLNK
    return isLink ? try realPath(candidate) : candidate
  }

  /// Makes sure that a tree can be mounted at `path`, which `resolve` returned; detaches a dead mount of ours from it.
  static func prepare(_ path: FilePath, nonEmpty: Bool) throws(CommandFailure) {
    if let mount = try? MountTable.top(at: path), mount.isSpoolFS {
      if isDead(mount) {
        try MountDirectory.detach(path)
        Terminal.note("\(path.escaped) was a mount whose server had died; detached it")
      } else if !nonEmpty {
        throw CommandFailure(.occupied, "\(path.escaped) is a spoolfs mount already; --nonempty mounts over it")
      }
    }
    var status = stat()
    guard path.withPlatformString({ stat($0, &status) }) == 0 else {
      throw CommandFailure(.noMountPoint, "mount point \(path.escaped)", Errno(rawValue: errno))
    }
    guard status.st_mode & S_IFMT == S_IFDIR else {
      throw CommandFailure(.noMountPoint, "mount point \(path.escaped)", .notDirectory)
    }
    if !nonEmpty, !directoryEntries(path).isEmpty {
      throw CommandFailure(
        .occupied, "mount point \(path.escaped) is not empty; --nonempty mounts over what is there")
    }
  }

  private static func detach(_ path: FilePath) throws(CommandFailure) {
    do {
      try MountPoint.unmount(path, lazily: true)
    } catch {
      throw CommandFailure(error)
    }
  }

  /// `path` as seen from the root directory.
  static func absolute(_ path: FilePath) -> FilePath {
    guard path.isRelative, let working = getcwd(nil, 0) else { return path }
    defer { free(working) }
    return FilePath(platformString: working).pushing(path)
  }

  private static func realPath(_ path: FilePath) throws(CommandFailure) -> FilePath {
    guard let resolved = path.withPlatformString({ realpath($0, nil) }) else {
      throw CommandFailure(.noMountPoint, "mount point \(path.escaped)", Errno(rawValue: errno))
    }
    defer { free(resolved) }
    return FilePath(platformString: resolved)
  }

  /// The same path without components of one dot. With one at the end the kernel would have to look into a mount that may
  /// not answer.
  private static func withoutDots(_ path: FilePath) -> FilePath {
    var result = path
    result.components.removeAll { $0.kind == .currentDirectory }
    return result
  }

  /// Whether the server of `mount` is gone. One that does not answer is not.
  private static func isDead(_ mount: MountEntry) -> Bool {
    if case .failed(_, let error?) = MountCall.check.run(on: mount) {
      MountPoint.isEndOfServer(error.rawValue)
    } else {
      false
    }
  }
}
