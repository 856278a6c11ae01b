internal import CSpoolSystem
internal import Glibc
internal import SpoolFS
internal import SpoolStorage
internal import SystemPackage

/// Whether the spill directory can do its job: take data on a disk.
enum SpillDirectoryCheck {
  private static let defaultDirectory: FilePath = "/var/tmp"

  /// Refuses a directory that the user named and that cannot be used, or is itself in memory. Of the default one it only
  /// warns: nothing may ever have to spill.
  static func check(_ settings: Settings) throws(CommandFailure) {
    if let directory = settings.spillDirectory ?? environmentPath("SPOOLFS_SPILL_DIR") {
      try check(directory)
    } else if settings.spillCapacity != .bytes(0), let type = memoryType(of: defaultDirectory) {
      Terminal.note(
        """
        warning: \(defaultDirectory) is a \(TerminalText.escape(type)), so data that spills stays in memory; name a \
        directory on a disk with --spill-dir
        """)
    }
  }

  private static func check(_ directory: FilePath) throws(CommandFailure) {
    var status = stat()
    guard directory.withPlatformString({ stat($0, &status) }) == 0 else { throw failure(directory, errno) }
    guard status.st_mode & S_IFMT == S_IFDIR else { throw failure(directory, ENOTDIR) }
    if let type = memoryType(of: directory) {
      throw CommandFailure(
        .spillDirectory,
        """
        spill directory \(directory.escaped) is a \(TerminalText.escape(type)), so data that spills would stay in memory; \
        name one on a disk
        """)
    }
    guard directory.withPlatformString({ faccessat(AT_FDCWD, $0, W_OK | X_OK, AT_EACCESS) }) == 0 else {
      throw failure(directory, errno)
    }
  }

  private static func failure(_ directory: FilePath, _ error: Int32) -> CommandFailure {
    let what =
      switch error {
      case EACCES, EPERM, EROFS: "spill directory \(directory.escaped) is not writable"
      default: "spill directory \(directory.escaped)"
      }
    return CommandFailure(.spillDirectory, what, Errno(rawValue: error))
  }

  /// The type of the filesystem at `directory` if it keeps its files in memory.
  private static func memoryType(of directory: FilePath) -> String? {
    var status = stat()
    guard directory.withPlatformString({ stat($0, &status) }) == 0 else { return nil }
    let device = (Int(spool_device_major(status.st_dev)), Int(spool_device_minor(status.st_dev)))
    guard let mount = (try? MountTable.entries())?.last(where: { ($0.major, $0.minor) == device }) else { return nil }
    return mount.isSpoolFS || ["tmpfs", "ramfs", "devtmpfs", "rootfs"].contains(mount.type) ? mount.type : nil
  }
}
