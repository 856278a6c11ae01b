internal import CSpoolSystem
internal import Glibc
internal import SpoolFS
internal import SystemPackage

/// Mount namespaces of other processes.
enum MountNamespace {
  /// setns(2). Root and working directory are the namespace's root afterwards.
  ///
  /// Precondition: the process has one thread.
  static func enter(_ path: FilePath) throws(CommandFailure) {
    let file = path.withPlatformString { spool_openat(AT_FDCWD, $0, O_RDONLY | O_CLOEXEC, 0) }
    if file < 0 { throw CommandFailure(.other, "cannot open the namespace \(path.escaped)", Errno(rawValue: errno)) }
    defer { close(file) }
    if spool_enter_mount_namespace(file) != 0 {
      throw CommandFailure(.noPermission, "cannot enter the namespace \(path.escaped)", Errno(rawValue: errno))
    }
  }
}
