internal import CSpoolSystem
internal import Glibc
internal import SystemPackage

// What the disk knows of a spill file: asked where others have its descriptor.

extension SpillFile {
  struct Status {
    /// Bytes.
    var size: Int64
    /// Pages of 4 KiB that it takes on disk.
    var pages: Int64
  }

  /// The corresponding C function is `fstat`.
  func status() throws(Errno) -> Status {
    var status = stat()
    try retryingInterrupts { fstat(file, &status) }
    return Status(
      size: Int64(status.st_size), pages: Layout.roundedUpToPage(Int64(status.st_blocks) * 512) >> Layout.pageShift)
  }

  /// Takes disk space for the range and makes the file at least as long as that, at once: others may be growing it. The
  /// corresponding C function is `fallocate`.
  ///
  /// - Throws: EOPNOTSUPP where the filesystem cannot; ENOSPC and others.
  func extend(over range: Range<Int64>) throws(Errno) {
    try retryingInterrupts { spool_fallocate(file, 0, off_t(range.lowerBound), off_t(range.count)) }
  }

  enum Kind {
    case data, hole
  }

  /// The first data or hole from `offset` on. The corresponding C function is `lseek` with SEEK_DATA or SEEK_HOLE.
  ///
  /// - Throws: ENXIO when the file ends before, or `offset` is negative.
  func seek(_ kind: Kind, from offset: Int64) throws(Errno) -> Int64 {
    guard offset >= 0 else { throw .noSuchAddressOrDevice }
    if let view = OwnView(of: file) { return try view.seek(kind, from: offset) }
    // Without a view of its own the file counts as data from end to end, as POSIX allows.
    let size = try status().size
    guard offset < size else { throw .noSuchAddressOrDevice }
    return kind == .data ? offset : size
  }

  /// How many pages of the range hold no data.
  ///
  /// - Complexity: O(runs of data in the range).
  func missingPages(in range: Range<Int64>) -> Int64 {
    guard !range.isEmpty else { return 0 }
    let pages = Layout.pages(of: range)
    let end = pages.upperBound << Layout.pageShift
    let view = OwnView(of: file)
    var missing = Int64(pages.count)
    var position = pages.lowerBound << Layout.pageShift
    // Past the end there is none, which the error says.
    while position < end, let data = try? view?.seek(.data, from: position) ?? seek(.data, from: position), data < end,
      let hole = try? view?.seek(.hole, from: data) ?? seek(.hole, from: data)
    {
      missing -= Int64(Layout.pages(of: data..<min(hole, end)).count)
      position = Layout.roundedUpToPage(max(hole, data + 1))
    }
    return max(0, missing)
  }

  /// The same file, opened once more: searching moves the offset of what was opened, and the descriptor's offset belongs
  /// to those who have it.
  private struct OwnView: ~Copyable {
    private let file: Int32

    /// nil without /proc, or when there is no descriptor left.
    init?(of file: Int32) {
      let own = spool_openat(AT_FDCWD, "/proc/self/fd/\(file)", O_RDONLY | O_CLOEXEC, 0)
      guard own >= 0 else { return nil }
      self.file = own
    }

    deinit { close(file) }

    func seek(_ kind: Kind, from offset: Int64) throws(Errno) -> Int64 {
      Int64(try retryingInterrupts { lseek(file, off_t(offset), kind == .data ? SEEK_DATA : SEEK_HOLE) })
    }
  }
}
