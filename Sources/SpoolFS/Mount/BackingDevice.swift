internal import CSpoolSystem
internal import Glibc
internal import SystemPackage

/// The kernel's limits for dirty pages and readahead of one mount (/sys/class/bdi), which only root may change.
enum BackingDevice {
  /// Bytes that the kernel reads ahead: one request's worth.
  private static let readahead = Negotiation.maximumWrite

  /// Lifts the limits that FUSE sets by default, for the filesystem with this device number alone: dirty pages of at
  /// most 1 % of memory, after which writers are slowed down. Where it fails, the mount works as well, but slower.
  static func raiseLimits(major: Int, minor: Int) {
    let directory = "/sys/class/bdi/\(major):\(minor)"
    write("0", to: "\(directory)/strict_limit")
    write("100", to: "\(directory)/max_ratio")
    write("\(readahead / 1024)", to: "\(directory)/read_ahead_kb")
  }

  private static func write(_ text: String, to path: String) {
    let file = spool_openat(AT_FDCWD, path, O_WRONLY | O_CLOEXEC, 0)
    if file < 0 { return }
    defer { close(file) }
    _ = Glibc.write(file, text, text.utf8.count)
  }
}
