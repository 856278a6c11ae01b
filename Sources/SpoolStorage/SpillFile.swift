internal import CSpoolSystem
internal import Glibc
internal import SystemPackage

/// The file on disk that a spooled file continues in. It has no name, so it vanishes with the last reference and with
/// the process; it is sparse, and its offsets are those of the spooled file.
///
/// All disk I/O of the storage is in this type.
final class SpillFile: Sendable {
  let file: Int32

  /// Takes over the descriptor.
  init(owning file: Int32) { self.file = file }

  deinit { close(file) }

  /// Reads until `buffer` is full or the file ends. The corresponding C function is `pread`.
  func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int64) throws(Errno) -> Int {
    guard let base = buffer.baseAddress else { return 0 }
    var done = 0
    while done < buffer.count {
      let count = try retryingInterrupts { pread(file, base + done, buffer.count - done, off_t(offset) + done) }
      if count == 0 { break }
      done += count
    }
    return done
  }

  /// Writes all of `bytes`, or throws with part of them written. The corresponding C function is `pwrite`.
  func write(_ bytes: UnsafeRawBufferPointer, at offset: Int64) throws(Errno) {
    guard let base = bytes.baseAddress else { return }
    var done = 0
    while done < bytes.count {
      let count = try retryingInterrupts { pwrite(file, base + done, bytes.count - done, off_t(offset) + done) }
      // Not specified for regular files; going on would never end.
      if count == 0 { throw .ioError }
      done += count
    }
  }

  /// The corresponding C function is `ftruncate`.
  func resize(to size: Int64) throws(Errno) {
    try retryingInterrupts { ftruncate(file, off_t(size)) }
  }

  /// Takes disk space for the range without changing what it reads as, where the filesystem can. The corresponding C
  /// function is `fallocate` with FALLOC_FL_KEEP_SIZE.
  func reserve(_ range: Range<Int64>) throws(Errno) {
    do throws(Errno) {
      try changeSpace(FALLOC_FL_KEEP_SIZE, range)
    } catch {
      // Space is then taken by the writes themselves.
      if error != .notSupported { throw error }
    }
  }

  /// Makes the range read as zeros and returns its disk space where the filesystem can. The corresponding C function
  /// is `fallocate` with FALLOC_FL_PUNCH_HOLE.
  ///
  /// - Parameter size: the end of the data. The file does not become longer than that.
  func punchHole(_ range: Range<Int64>, size: Int64) throws(Errno) {
    guard !range.isEmpty else { return }
    do throws(Errno) {
      try changeSpace(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, range)
    } catch {
      if error != .notSupported { throw error }
      try writeZeros(range.clamped(to: 0..<size))
    }
  }

  /// Makes the range read as zeros and takes disk space for it where the filesystem can. The corresponding C function
  /// is `fallocate` with FALLOC_FL_ZERO_RANGE.
  ///
  /// - Parameter size: the end of the data. The file does not become longer than that.
  func zero(_ range: Range<Int64>, size: Int64) throws(Errno) {
    do throws(Errno) {
      try changeSpace(FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, range)
    } catch {
      if error != .notSupported { throw error }
      // Space first: when there is none, nothing has been cleared.
      try reserve(range)
      try writeZeros(range.clamped(to: 0..<size))
    }
  }

  private func changeSpace(_ mode: Int32, _ range: Range<Int64>) throws(Errno) {
    try retryingInterrupts { spool_fallocate(file, mode, off_t(range.lowerBound), off_t(range.count)) }
  }

  private func writeZeros(_ range: Range<Int64>) throws(Errno) {
    let zeros = UnsafeRawBufferPointer(start: Self.zeros, count: Layout.chunk)
    var offset = range.lowerBound
    while offset < range.upperBound {
      let count = min(Int64(Layout.chunk), range.upperBound - offset)
      try write(UnsafeRawBufferPointer(rebasing: zeros[..<Int(count)]), at: offset)
      offset += count
    }
  }

  /// Never written to and never freed, so any thread may read it.
  private nonisolated(unsafe) static let zeros: UnsafeRawPointer = {
    UnsafeRawPointer(calloc(1, Layout.chunk))
  }()
}
