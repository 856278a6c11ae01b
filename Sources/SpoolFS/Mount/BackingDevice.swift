internal import CSpoolSystem
internal import Glibc
internal import SystemPackage

/// The kernel's limits for dirty pages and readahead of one mount (/sys/class/bdi), which only root may change.
enum BackingDevice {
  /// Bytes that the kernel reads ahead: several requests' worth, so that the disk is busy with what has spilled while
  /// others are copied.
  private static let readahead = 4 * Negotiation.maximumWrite

  /// Bytes that a writer may be ahead of us under a writeback cache, about: so many that small files are not slowed down,
  /// and so few that a large one is taken over while it is written, and not only when it is closed.
  static let dirtyLimit = 128 << 20

  /// Changes the limit that FUSE sets by default, for the filesystem with this device number alone: dirty pages of at
  /// most 1 % of memory, after which writers are slowed down. Where it fails, the mount works as well, but slower.
  static func raiseLimits(major: Int, minor: Int) {
    let directory = "/sys/class/bdi/\(major):\(minor)"
    // Linux 6.2. Before that, and where memory is short, none of its own.
    if write("\(dirtyLimit)", to: "\(directory)/max_bytes") {
      write("1", to: "\(directory)/strict_limit")
    } else {
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
