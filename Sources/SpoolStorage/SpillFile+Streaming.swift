internal import CSpoolSystem
internal import Glibc
internal import Synchronization
internal import SystemPackage

// What the page cache of the disk holds of what goes through in large pieces. Where the kernel caches the files above us,
// as it does for a mount, it would hold the same bytes a second time; and a stream that goes through a cache of gigabytes
// takes fresh memory for every page, which costs more than the disk.
//
// What is written leaves it with RWF_DONTCACHE (Linux 6.14), which starts to write pages to disk at once and drops them
// when they are there. Where kernel or filesystem do not have it, the same is done by hand, a window behind the writer, where
// the writer waits for the disk's word (`FileContent+Unconfirmed.swift`).
// What is read is dropped by hand always: with the flag the kernel drops a folio of 2 MiB, and what it read ahead in it,
// with the first piece that is read of it, and reads from disk up to half as much again. Of a file in large folios what was
// read last stays, as much as a window.

extension SpillFile {
  /// Smaller pieces are gathered and kept by the page cache, as programs expect.
  static let smallestStreamedPiece = Layout.chunk
  /// What waits to be dropped, in bytes: enough for the disk to be busy with what is written meanwhile.
  static let window: Int64 = 8 << 20
  /// Bytes of the largest folio, where pages are of 4 KiB.
  private static let largestFolio: Int64 = 2 << 20

  /// Writes some of the parts to disk, `count` bytes together. Returns how many.
  ///
  /// Preconditions: nobody else changes the file.
  func writeSomeOnce(_ parts: UnsafePointer<iovec>, _ partCount: Int, count: Int, at offset: Int64) throws(Errno) -> Int
  {
    let isStreamed = isCachedAbove && count >= Self.smallestStreamedPiece
    if isStreamed, writesUncached.load(ordering: .relaxed) {
      do throws(Errno) {
        return try retryingInterrupts { spool_write_uncached(file, parts, Int32(partCount), off_t(offset)) }
      } catch {
        if error != .notSupported { throw error }
        writesUncached.store(false, ordering: .relaxed)
      }
    }
    return try retryingInterrupts { spool_write_parts(file, parts, Int32(partCount), off_t(offset)) }
  }

  /// Whether the kernel brings a piece of that size to disk at once.
  func isOnItsWay(_ count: Int) -> Bool {
    isCachedAbove && count >= Self.smallestStreamedPiece && writesUncached.load(ordering: .relaxed)
  }

  /// Has the kernel start to write the range to disk.
  func startWriting(_ range: Range<Int64>) {
    if tellsOfRanges {
      spool_start_writing_back(file, off_t(range.lowerBound), off_t(range.count))
    } else {
      // overlayfs passes this on, and not the other.
      drop(range)
    }
  }

  /// Has the kernel write the range to disk, and waits until it has.
  ///
  /// - Throws: what the disk refused anything of the file with since this was last called. Whoever does not know better must
  ///   take all for refused that has not been waited for.
  func finishWriting(_ range: Range<Int64>) throws(Errno) {
    if !tellsOfRanges {
      try retryingInterrupts { fdatasync(file) }
      return
    }
    try retryingInterrupts { spool_finish_writing_back(file, off_t(range.lowerBound), off_t(range.count)) }
    // A filesystem whose journal has failed may have lost where the bytes are. It says so when anything is changed.
    try retryingInterrupts { futimens(file, nil) }
  }

  /// Drops whole pages that the disk has refused, from the page cache and from the disk, so that writing them again begins
  /// anew. Where they are only overwritten, ext4 takes them for written, and has zeros there.
  func forgetRefused(_ ranges: [Range<Int64>]) {
    do throws(Errno) {
      for range in ranges { try freeDisk(range) }
    } catch {
      // In folios that go beyond the ranges, too.
      posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED)
    }
  }

  /// Reads some of what is on disk. Returns how many bytes, 0 at the end.
  func readSome(into buffer: UnsafeMutableRawBufferPointer, at offset: Int64) throws(Errno) -> Int {
    let count = try retryingInterrupts { pread(file, buffer.baseAddress, buffer.count, off_t(offset)) }
    if isCachedAbove, count >= Self.smallestStreamedPiece {
      let read = offset..<offset + Int64(count)
      drop(read)
      // Large folios, whose other parts somebody may be about to read: the kernel asks for several pieces at a time.
      let settledEnd = read.upperBound - Self.window
      if settledEnd > 0 { dropWithFolio(max(0, read.lowerBound - Self.window)..<settledEnd) }
    }
    return count
  }

  /// Drops the range from the page cache, and what the folio at its start holds from before. A folio that goes on after
  /// the range stays.
  func dropWithFolio(_ range: Range<Int64>) {
    drop(range.lowerBound / Self.largestFolio * Self.largestFolio..<range.upperBound)
  }

  /// Drops the folios that lie in the range, which is not empty, and has those written that are not on disk yet.
  private func drop(_ range: Range<Int64>) {
    // Advice: it fails where nothing can be done about it, and leaves errno alone.
    posix_fadvise(file, off_t(range.lowerBound), off_t(range.count), POSIX_FADV_DONTNEED)
  }
}

/// Gathers what follows each other in the file, so that it reaches the disk in large pieces.
struct SpillGatherer: ~Copyable {
  /// Chunks' worth of a megabyte.
  private static let largestPartCount = 16

  private let target: SpillFile
  private let isPadded: Bool
  private let parts = UnsafeMutablePointer<iovec>.allocate(capacity: largestPartCount)
  private var partCount = 0
  private var start: Int64 = 0
  private var count = 0

  /// - Parameter isPadded: whether each part is the beginning of whole pages in memory.
  init(_ target: SpillFile, isPadded: Bool = false) {
    self.target = target
    self.isPadded = isPadded
  }

  deinit { parts.deallocate() }

  /// Takes bytes, which must stay as they are until `flush`.
  mutating func append(_ bytes: UnsafeRawBufferPointer, at offset: Int64) throws(Errno) {
    guard let base = bytes.baseAddress, !bytes.isEmpty else { return }
    if partCount == Self.largestPartCount || offset != start + Int64(count) { try flush() }
    if partCount == 0 { start = offset }
    parts[partCount] = iovec(iov_base: UnsafeMutableRawPointer(mutating: base), iov_len: bytes.count)
    partCount += 1
    count += bytes.count
  }

  /// Writes what is left.
  mutating func flush() throws(Errno) {
    let range = start..<start + Int64(count)
    let written = UnsafeMutableBufferPointer(start: parts, count: partCount)
    partCount = 0
    count = 0
    if range.isEmpty { return }
    try target.write(written, at: range.lowerBound, isPadded: isPadded)
    if target.unconfirmed != nil, range.count == Self.largestPartCount * Layout.chunk, !target.isOnItsWay(range.count) {
      target.startWriting(range)
    }
  }
}
