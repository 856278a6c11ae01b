internal import CSpoolSystem
internal import Glibc
internal import SystemPackage

/// The kernel's limits for dirty pages and readahead of one mount (/sys/class/bdi), which only root may change.
enum BackingDevice {
  /// Bytes that the kernel reads ahead: several requests' worth, so that the disk is busy with what has spilled while
  /// others are copied.
  private static let readahead = 4 * Negotiation.maximumWrite
  private static let classDirectory = "/sys/class/bdi"

  /// Whether this process may set a limit of bytes: as root of the machine, with a /sys that can be written (containers
  /// often have none), on Linux 6.2.
  static let canLimitBytes: Bool = {
    guard geteuid() == 0 else { return false }
    // Every machine has a device or two with limits; all have the same files.
    guard let directory = opendir(classDirectory) else { return false }
    defer { closedir(directory) }
    while let entry = readdir(directory) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if access("\(classDirectory)/\(name)/max_bytes", W_OK) == 0 { return true }
    }
    return false
  }()

  /// Changes the limits that FUSE sets by default, for the filesystem with this device number alone. Where that fails,
  /// the mount works as well, but slower.
  static func setLimits(major: Int, minor: Int, dirtyBytes: Int) {
    let directory = "\(classDirectory)/\(major):\(minor)"
    if write("\(dirtyBytes)", to: "\(directory)/max_bytes") {
      write("1", to: "\(directory)/strict_limit")
    } else if dirtyBytes == DirtyLimit.maximum {
      // Before Linux 6.2, where memory is not short: no limit of the mount's own.
      write("0", to: "\(directory)/strict_limit")
      write("100", to: "\(directory)/max_ratio")
    }
    write("\(readahead / 1024)", to: "\(directory)/read_ahead_kb")
  }

  /// - Returns: whether the kernel took it.
  @discardableResult
  private static func write(_ text: String, to path: String) -> Bool {
    let file = spool_openat(AT_FDCWD, path, O_WRONLY | O_CLOEXEC, 0)
    if file < 0 { return false }
    defer { close(file) }
    return Glibc.write(file, text, text.utf8.count) == text.utf8.count
  }
}
