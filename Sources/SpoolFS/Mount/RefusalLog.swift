internal import Glibc
internal import Logging
import SpoolStorage
internal import SystemPackage

/// Tells the log which file the disk refused bytes of: one line at once, then one for all of ten seconds.
struct RefusalLog {
  private static let interval = 10_000_000_000

  private var toldAt: Int?
  private var untold = 0

  /// - Complexity: linear in the number of entries of the tree when a line is due, O(1) otherwise.
  mutating func tell(_ content: ObjectIdentifier, _ error: Errno, _ files: FileSystem) {
    if error == .tooManyOpenFiles || error == .tooManyOpenFilesInSystem { return Self.tellOfDescriptors(error) }
    let now = coarseNanoseconds()
    if let toldAt, now - toldAt < Self.interval {
      untold += 1
      return
    }
    let name = files.path(of: content).map { TerminalText.escape($0) } ?? "a file without a name"
    let others = untold == 0 ? "" : ", and others \(untold) times since the last message"
    Logger(label: "spoolfs").warning(
      "the disk refuses what was written to \(name): \(error); it stays in memory while there is room\(others)")
    toldAt = now
    untold = 0
  }

  private static func tellOfDescriptors(_ error: Errno) {
    let limit =
      error == .tooManyOpenFiles
      ? "the limit of open files (RLIMIT_NOFILE) is \(DescriptorLimit.soft); raise it (ulimit -n)"
      : "the system's limit of open files (fs.file-max) is reached; raise it"
    Logger(label: "spoolfs").warning(
      """
      no file descriptor is left for another file on disk, so writers get ENOSPC: \(limit), or keep more in memory \
      (--memory, --threshold)
      """)
  }
}
