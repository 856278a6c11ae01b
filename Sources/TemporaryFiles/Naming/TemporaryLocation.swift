internal import CSpoolSystem
internal import Glibc
internal import SpoolStorage
internal import Synchronization
public import SystemPackage

/// Where temporary files are made: Python's `tempfile.gettempdir()`, `tempfile.tempdir` and `tempfile.gettempprefix()`.
public enum TemporaryLocation {
  private struct State {
    var override: FilePath?
    var found: FilePath?
  }

  private static let state = Mutex(State())

  /// What the names of temporary files begin with unless told otherwise: Python's `tempfile.gettempprefix()`.
  public static let prefix: NameAffix = "tmp"

  /// The directory for temporary files, an absolute path: Python's `tempfile.gettempdir()`.
  ///
  /// It is ``override`` if that is set, else the first directory in which a file can be made, written and removed, out of
  /// those that the variables `TMPDIR`, `TEMP` and `TMP` name, /tmp, /var/tmp, /usr/tmp and the working directory. It is
  /// looked for once; the probe leaves nothing behind. A process with more privileges than its user (set-user-ID and the
  /// like) does not look at the variables.
  ///
  /// - Throws: `noUsableTemporaryDirectory`.
  public static var directory: FilePath {
    get throws(TemporaryFileError) {
      let known = state.withLock { $0.override ?? $0.found }
      if let known { return known }
      let directory = try usableDirectory(of: candidates(environmentPath))
      state.withLock { $0.found = directory }
      return directory
    }
  }

  /// A directory that every primitive uses that is not told another: Python's `tempfile.tempdir`. nil goes back to the
  /// search, which is then made anew. A relative path is made absolute now. Nothing checks it before it is used.
  public static var override: FilePath? {
    get { state.withLock { $0.override } }
    set {
      let directory = newValue.map { absolute($0) ?? $0 }
      state.withLock { $0 = State(override: directory) }
    }
  }

  /// Whether the user or the program chose the directory, rather than it being the system's usual one.
  static var isChosen: Bool {
    override != nil || ["TMPDIR", "TEMP", "TMP"].contains { environmentPath($0) != nil }
  }

  static func candidates(_ variable: (String) -> FilePath?) -> [FilePath] {
    ["TMPDIR", "TEMP", "TMP"].compactMap(variable) + ["/tmp", "/var/tmp", "/usr/tmp", "."]
  }

  static func usableDirectory(of candidates: [FilePath]) throws(TemporaryFileError) -> FilePath {
    for candidate in candidates {
      guard let directory = absolute(candidate), isUsable(directory) else { continue }
      return directory
    }
    let names = candidates.map(\.string).joined(separator: ", ")
    throw TemporaryFileError(
      .noUsableTemporaryDirectory, operation: "find a directory for temporary files", errno: .noSuchFileOrDirectory,
      message: "in none of \(names) can a file be made; set TMPDIR to a directory where one can")
  }

  static func absolute(_ path: FilePath) -> FilePath? {
    guard path.isRelative else { return path.lexicallyNormalized() }
    guard let working = getcwd(nil, 0) else { return nil }
    defer { free(working) }
    return FilePath(platformString: working).pushing(path).lexicallyNormalized()
  }

  private static func isUsable(_ directory: FilePath) -> Bool {
    do {
      let template = try NameTemplate(prefix: .empty, suffix: .empty, for: "")
      return try template.withUnusedName(for: "", in: directory) { name throws(Errno) in
        let path = directory.appending(String(cString: name))
        let file = try retryingInterrupts {
          path.withPlatformString {
            spool_openat(AT_FDCWD, $0, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o600)
          }
        }
        defer {
          close(file)
          _ = path.withPlatformString { unlink($0) }
        }
        return try retryingInterrupts { write(file, "blat", 4) } == 4
      }
    } catch {
      return false
    }
  }
}
