internal import CSpoolSystem
internal import Glibc
import SpoolStorage
internal import SystemPackage

/// The setuid helper of libfuse, through which users other than root mount and unmount.
///
/// libfuse calls it as well, but then its reasons go to stderr and are lost for the program.
enum Fusermount {
  private static let program = "fusermount3"

  /// Whether it can unmount, also when this process dies: it looks its mounts up in /etc/mtab.
  private static var findsMounts: Bool {
    guard let table = try? MountPoint.absolute("/etc/mtab") else { return false }
    return table.starts(with: "/proc")
  }

  /// umount(8), which unmounts FUSE filesystems for their users where it is a setuid program.
  private static var systemUnmounter: String? {
    ["/usr/bin/umount", "/bin/umount"].first { path in
      var status = stat()
      return stat(path, &status) == 0 && status.st_uid == 0 && status.st_mode & S_ISUID != 0
    }
  }

  /// A mount through the helper.
  struct Result {
    /// The mounted /dev/fuse.
    var device: Int32
    /// Where the helper stays to unmount when this process dies.
    var guardian: Guardian?
  }

  /// A helper that waits for the other end of `socket` to close. It then unmounts, if nobody has before.
  struct Guardian: Sendable {
    var socket: Int32
    var process: pid_t

    /// Lets the helper go, and waits until it has.
    func dismiss() {
      close(socket)
      _ = Fusermount.wait(for: process)
    }
  }

  /// - Parameter options: as after `-o`.
  static func mount(_ options: String, at path: FilePath, staying: Bool) throws(SpoolFSError) -> Result {
    // Where nothing can unmount nothing is mounted.
    guard findsMounts || (!staying && systemUnmounter != nil) else {
      throw SpoolFSError(
        .mountRefused, operation: "mount", path: path,
        message: """
          fusermount3 could not unmount it again, because /etc/mtab does not show what is mounted; \
          root mends that by 'ln -sf /proc/self/mounts /etc/mtab'
          """)
    }
    var sockets: [Int32] = [-1, -1]
    if socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0, &sockets) != 0 {
      throw SpoolFSError(errno: Errno(rawValue: errno), operation: "mount", path: path)
    }
    let (own, other) = (sockets[0], sockets[1])
    let errors = spool_memory_file("fusermount3")
    defer { if errors >= 0 { close(errors) } }
    let process: pid_t
    do throws(SpoolFSError) {
      process = try spawn(["-o", options, "--"], inheriting: other, errors: errors, path: path)
    } catch {
      close(own)
      close(other)
      throw error
    }
    close(other)
    let device = spool_receive_descriptor(own)
    if device >= 0, staying { return Result(device: device, guardian: Guardian(socket: own, process: process)) }
    close(own)
    let status = wait(for: process)
    if device >= 0 { return Result(device: device, guardian: nil) }
    let reason = text(of: errors)
    throw failure(status, reason: reason, operation: "mount", path: path, code: refusal(reason))
  }

  static func unmount(_ path: FilePath, lazily: Bool) throws(SpoolFSError) {
    let errors = spool_memory_file("fusermount3")
    defer { if errors >= 0 { close(errors) } }
    let process =
      if !findsMounts, let systemUnmounter {
        try spawn(
          (lazily ? ["-l"] : []) + ["--"], of: systemUnmounter, inheriting: nil, errors: errors, path: path,
          operation: "unmount")
      } else {
        try spawn(
          ["-u"] + (lazily ? ["-z"] : []) + ["--"], inheriting: nil, errors: errors, path: path, operation: "unmount")
      }
    let status = wait(for: process)
    let reason = text(of: errors)
    if status == 0 || (status == nil && reason.isEmpty) { return }
    // They have no status of their own for this.
    let isBusy = reason.contains("resource busy") || reason.contains("target is busy")
    throw failure(status, reason: reason, operation: "unmount", path: path, code: isBusy ? .busy : .failed)
  }

  // MARK: - The process

  /// - Parameter path: the last argument.
  private static func spawn(
    _ arguments: [String], of program: String = program, inheriting socket: Int32?, errors: Int32, path: FilePath,
    operation: String = "mount"
  ) throws(SpoolFSError) -> pid_t {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    // Duplicated onto itself, a descriptor loses its close-on-exec flag.
    if let socket { posix_spawn_file_actions_adddup2(&actions, socket, socket) }
    if errors >= 0 { posix_spawn_file_actions_adddup2(&actions, errors, 2) }

    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    var none = sigset_t()
    sigemptyset(&none)
    posix_spawnattr_setsigmask(&attributes, &none)
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))

    // The messages are read here: in English.
    var environment = ["LC_ALL=C", "PATH=\(environmentPath("PATH")?.string ?? "/usr/bin:/bin")"]
    if let socket { environment.append("_FUSE_COMMFD=\(socket)") }
    var argumentPointers = ([program] + arguments).map { strdup($0) } + [path.withPlatformString { strdup($0) }, nil]
    var environmentPointers = environment.map { strdup($0) } + [nil]
    defer { for pointer in argumentPointers + environmentPointers { free(pointer) } }
    var process = pid_t()
    let code = posix_spawnp(&process, program, &actions, &attributes, &argumentPointers, &environmentPointers)
    if code == ENOENT {
      throw SpoolFSError(
        .helperMissing, operation: operation, path: path, errno: .noSuchFileOrDirectory,
        message: "fusermount3 is not installed (Debian package fuse3); only root can do without it")
    }
    if code != 0 { throw SpoolFSError(errno: Errno(rawValue: code), operation: operation, path: path) }
    return process
  }

  /// The exit status; 128 and the signal's number where it was killed; nil where the program ignores SIGCHLD, and nobody
  /// can tell.
  private static func wait(for process: pid_t) -> Int32? {
    var status: Int32 = 0
    while waitpid(process, &status, 0) < 0 {
      if errno != EINTR { return nil }
    }
    return status & 0x7f == 0 ? (status >> 8) & 0xff : 128 + (status & 0x7f)
  }

  private static func text(of file: Int32) -> String {
    var bytes = [UInt8](repeating: 0, count: 4096)
    let count = file < 0 ? 0 : pread(file, &bytes, bytes.count, 0)
    return String(decoding: bytes.prefix(max(0, count)), as: UTF8.self)
  }

  /// Why it did not mount: it has no status of its own for each reason.
  private static func refusal(_ reason: String) -> SpoolFSError.Code {
    if reason.contains("device not found") { return .deviceMissing }
    if reason.contains("/dev/fuse: Permission denied") { return .devicePermission }
    if reason.contains("no write access") { return .permissionDenied }
    return .mountRefused
  }

  private static func failure(
    _ status: Int32?, reason: String, operation: String, path: FilePath, code: SpoolFSError.Code
  ) -> SpoolFSError {
    let lines = reason.split(separator: "\n").map(String.init)
    let message =
      lines.isEmpty
      ? "fusermount3 ended with status \(status ?? -1)" : TerminalText.sanitize(lines.joined(separator: "; "))
    return SpoolFSError(
      code, operation: operation, path: path, errno: code == .busy ? .resourceBusy : nil, message: message)
  }
}
