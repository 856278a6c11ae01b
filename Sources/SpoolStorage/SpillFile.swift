internal import CSpoolSystem
internal import Glibc
internal import Synchronization
internal import SystemPackage

/// The file on disk that a spooled file continues in. It has no name, so it vanishes with the last reference and with
/// the process; it is sparse, and its offsets are those of the spooled file.
///
/// All disk I/O of the storage is in this type, and it alone knows whether what is on disk is encrypted
/// (`SpillFile+Encryption.swift`). Any number of threads may read while one changes the file.
final class SpillFile: Sendable {
  let file: Int32
  /// nil where the bytes are on disk as they are.
  private let seals: PageSeals?
  /// Whether a cache above has what is read and written here in large pieces.
  let isCachedAbove: Bool
  /// Whether kernel and filesystem may still turn out to have RWF_DONTCACHE.
  let writesUncached = Atomic<Bool>(true)
  /// What has been written and may still be lost; nil where the files are memory, which takes what is written to it.
  let unconfirmed: UnconfirmedWrites?
  /// Whether the filesystem tells of ranges what came of writing them. The others are asked for the whole file.
  let tellsOfRanges: Bool
  private let closer: DeferredCloser
  private let isGivenUp = Atomic<Bool>(false)

  /// Takes over the descriptor of an empty file.
  init(
    owning file: Int32, encryptedWith key: SpillKey? = nil, isCachedAbove: Bool = false,
    unconfirmed: UnconfirmedWrites? = nil, tellsOfRanges: Bool = false, closer: DeferredCloser
  ) {
    self.closer = closer
    self.file = file
    self.isCachedAbove = isCachedAbove
    self.unconfirmed = unconfirmed
    self.tellsOfRanges = tellsOfRanges
    seals = key.map { PageSeals(key: $0) }
  }

  var isEncrypted: Bool { seals != nil }

  deinit { if !isGivenUp.load(ordering: .relaxed) { close(file) } }

  /// Leaves closing the descriptor to a thread that has the time. The file must not be used any more.
  ///
  /// - Parameter pages: what it has on disk.
  func closeLater(pages: Int64) {
    isGivenUp.store(true, ordering: .relaxed)
    closer.close(file, pages: pages)
  }

  /// Reads until `buffer` is full or the file ends. The corresponding C function is `pread`.
  ///
  /// - Throws: EIO for what is not what was written, if the file is encrypted; ENOKEY then in a forked child.
  func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int64) throws(Errno) -> Int {
    if let seals { return try readEncrypted(seals, into: buffer, at: offset) }
    return try readDisk(into: buffer, at: offset)
  }

  /// Reads what is on disk.
  func readDisk(into buffer: UnsafeMutableRawBufferPointer, at offset: Int64) throws(Errno) -> Int {
    guard let base = buffer.baseAddress else { return 0 }
    var done = 0
    while done < buffer.count {
      let rest = UnsafeMutableRawBufferPointer(start: base + done, count: buffer.count - done)
      let count = try readSome(into: rest, at: offset + Int64(done))
      if count == 0 { break }
      done += count
    }
    return done
  }

  /// Writes all of `bytes`, or throws with part of them written. The corresponding C function is `pwrite`.
  func write(_ bytes: UnsafeRawBufferPointer, at offset: Int64) throws(Errno) {
    if let seals { return try writeEncrypted(seals, bytes, at: offset, end: offset + Int64(bytes.count)) }
    var done = 0
    while done < bytes.count { try writeDisk(bytes, at: offset, done: &done) }
  }

  /// Writes all parts, one after the other, or throws with part of them written. The corresponding C function is
  /// `pwritev`.
  ///
  /// - Parameter isPadded: whether each part goes on to the end of its page in memory, beyond its count.
  func write(
    _ parts: UnsafeMutableBufferPointer<iovec>, at offset: Int64, isPadded: Bool = false
  ) throws(Errno) {
    var position = offset
    if let seals {
      for part in parts {
        let end = position + Int64(part.iov_len)
        let count = isPadded ? Int(Layout.roundedUpToPage(end) - position) : part.iov_len
        let bytes = UnsafeRawBufferPointer(start: part.iov_base, count: count)
        try writeEncrypted(seals, bytes, at: position, end: end)
        position = end
      }
      return
    }
    var first = 0
    var left = parts.reduce(0) { $0 + $1.iov_len }
    while left > 0 {
      let written = try writeSome(parts.baseAddress! + first, parts.count - first, count: left, at: position)
      if written == 0 { throw .ioError }
      left -= written
      position += Int64(written)
      var skipped = written
      while first < parts.count, skipped >= parts[first].iov_len {
        skipped -= parts[first].iov_len
        first += 1
      }
      if skipped > 0 {
        parts[first].iov_base += skipped
        parts[first].iov_len -= skipped
      }
    }
  }

  /// Writes some of what follows the first `done` of `bytes` to disk, and adds it to `done`.
  func writeDisk(_ bytes: UnsafeRawBufferPointer, at offset: Int64, done: inout Int) throws(Errno) {
    var rest = iovec(
      iov_base: UnsafeMutableRawPointer(mutating: bytes.baseAddress! + done), iov_len: bytes.count - done)
    let count = try writeSome(&rest, 1, count: rest.iov_len, at: offset + Int64(done))
    // Not specified for regular files; going on would never end.
    if count == 0 { throw .ioError }
    done += count
  }

  /// The corresponding C function is `ftruncate`.
  func resize(to size: Int64) throws(Errno) {
    if let seals { return try resizeEncrypted(seals, to: size) }
    try resizeDisk(to: size)
  }

  /// Sets the size of what is on disk.
  func resizeDisk(to size: Int64) throws(Errno) {
    try retryingInterrupts { ftruncate(file, off_t(size)) }
  }

  /// Takes disk space for the range without changing what it reads as. The corresponding C function is `fallocate` with
  /// FALLOC_FL_KEEP_SIZE.
  ///
  /// - Throws: EOPNOTSUPP where the filesystem cannot; ENOSPC and others.
  func reserve(_ range: Range<Int64>) throws(Errno) {
    try changeSpace(FALLOC_FL_KEEP_SIZE, range)
  }

  /// Makes the range read as zeros and returns its disk space where the filesystem can. The corresponding C function
  /// is `fallocate` with FALLOC_FL_PUNCH_HOLE.
  ///
  /// - Parameter size: the end of the data. The file does not become longer than that.
  /// - Throws: EOPNOTSUPP where the filesystem cannot and there is too much to be overwritten; EIO and others.
  func punchHole(_ range: Range<Int64>, size: Int64) throws(Errno) {
    guard !range.isEmpty else { return }
    if let seals { return try punchEncrypted(seals, range) }
    do throws(Errno) {
      try freeDisk(range)
    } catch {
      if error != .notSupported { throw error }
      try writeZeros(range.clamped(to: 0..<size))
    }
  }

  /// Bytes of zeros that are written in place of a hole: nobody can stop the thread that writes them.
  private static let mostZeros = 16 << 20

  /// Frees the disk space of the range.
  func freeDisk(_ range: Range<Int64>) throws(Errno) {
    try changeSpace(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, range)
  }

  /// Makes the range read as zeros and takes disk space for it where the filesystem can. The corresponding C function
  /// is `fallocate` with FALLOC_FL_ZERO_RANGE.
  ///
  /// - Parameter size: the end of the data. The file does not become longer than that.
  /// - Throws: as `reserve` and `punchHole`.
  func zero(_ range: Range<Int64>, size: Int64) throws(Errno) {
    if let seals { return try zeroEncrypted(seals, range) }
    do throws(Errno) {
      try zeroDisk(range)
    } catch {
      if error != .notSupported { throw error }
      // Space first: when there is none, nothing has been cleared.
      try reserve(range)
      try writeZeros(range.clamped(to: 0..<size))
    }
  }

  /// Makes the range of what is on disk read as zeros.
  private func zeroDisk(_ range: Range<Int64>) throws(Errno) {
    try changeSpace(FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, range)
  }

  /// Makes whole pages read as zeros, whose disk space has been reserved.
  ///
  /// - Throws: EOPNOTSUPP where the filesystem cannot; the pages then have what they had.
  func clearReserved(_ range: Range<Int64>) throws(Errno) {
    if range.isEmpty { return }
    if let seals { return try zeroEncrypted(seals, range) }
    try zeroDisk(range)
  }

  /// Makes whole pages read as zeros and returns their disk space.
  ///
  /// - Throws: EOPNOTSUPP where the filesystem cannot; the pages then have what they had.
  func free(_ range: Range<Int64>) throws(Errno) {
    if range.isEmpty { return }
    if let seals { return try punchEncrypted(seals, range) }
    try freeDisk(range)
  }

  private func changeSpace(_ mode: Int32, _ range: Range<Int64>) throws(Errno) {
    try closer.retrying { () throws(Errno) -> Void in
      try retryingInterrupts { spool_fallocate(file, mode, off_t(range.lowerBound), off_t(range.count)) }
    }
  }

  /// Writes some of the parts, as `pwritev`.
  func writeSome(_ parts: UnsafePointer<iovec>, _ partCount: Int, count: Int, at offset: Int64) throws(Errno) -> Int {
    try closer.retrying { () throws(Errno) in try writeSomeOnce(parts, partCount, count: count, at: offset) }
  }

  private func writeZeros(_ range: Range<Int64>) throws(Errno) {
    if range.count > Self.mostZeros { throw .notSupported }
    var offset = range.lowerBound
    while offset < range.upperBound {
      let count = min(Int64(Layout.chunk), range.upperBound - offset)
      try write(Self.zeros(Int(count)), at: offset)
      offset += count
    }
  }

  /// At most a chunk of zeros.
  static func zeros(_ count: Int) -> UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(start: zeroChunk, count: Layout.chunk)[..<count])
  }

  /// Never written to and never freed, so any thread may read it.
  private nonisolated(unsafe) static let zeroChunk: UnsafeRawPointer = {
    UnsafeRawPointer(calloc(1, Layout.chunk))
  }()
}
