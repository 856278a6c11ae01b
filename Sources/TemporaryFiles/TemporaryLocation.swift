internal import Glibc
internal import Synchronization
public import SystemPackage

/// Where temporary files are made: Python's `tempfile.gettempdir()`.
public enum TemporaryLocation {
  private static let found = Mutex<FilePath?>(nil)

  /// The directory for temporary files: the first one in which a file can be made, written and removed, out of those that
  /// the variables `TMPDIR`, `TEMP` and `TMP` name, /tmp, /var/tmp, /usr/tmp and the working directory. It is looked for
  /// once.
  ///
  /// A process with more privileges than its user (set-user-ID) does not look at the variables.
  ///
  /// - Returns: an absolute path.
  /// - Throws: `ENOENT` if there is none.
  public static func defaultDirectory() throws(Errno) -> FilePath {
    if let directory = found.withLock({ $0 }) { return directory }
    let directory = try usableDirectory(of: candidates(variable))
    found.withLock { $0 = directory }
    return directory
  }

  static func candidates(_ variable: (String) -> FilePath?) -> [FilePath] {
    ["TMPDIR", "TEMP", "TMP"].compactMap(variable) + ["/tmp", "/var/tmp", "/usr/tmp", "."]
  }

  static func usableDirectory(of candidates: [FilePath]) throws(Errno) -> FilePath {
    for candidate in candidates {
      guard let directory = absolute(candidate), isUsable(directory) else { continue }
      return directory
    }
    throw .noSuchFileOrDirectory
  }

  private static func variable(_ name: String) -> FilePath? {
    guard getuid() == geteuid(), getgid() == getegid(), let value = getenv(name), value.pointee != 0 else { return nil }
    return FilePath(platformString: value)
  }

  private static func absolute(_ path: FilePath) -> FilePath? {
    guard path.isRelative else { return path.lexicallyNormalized() }
    guard let working = getcwd(nil, 0) else { return nil }
    defer { free(working) }
    return FilePath(platformString: working).pushing(path).lexicallyNormalized()
  }

  private static func isUsable(_ directory: FilePath) -> Bool {
    for _ in 0..<100 {
      let name = directory.appending(TemporaryName.random())
      do {
        let file = try FileDescriptor.open(
          name, .writeOnly, options: [.create, .exclusiveCreate, .noFollow, .closeOnExec],
          permissions: .ownerReadWrite)
        defer { _ = name.withPlatformString { unlink($0) } }
        return try file.closeAfter { try file.writeAll("blat".utf8) } == 4
      } catch Errno.fileExists {
        continue
      } catch {
        return false
      }
    }
    return false
  }
}
