internal import Glibc
internal import Synchronization
internal import SystemPackage

// Reading a file on disk whose disk may have refused what was written: what it has not confirmed comes from the copies in
// memory, what holds no data is zeros, and only the rest comes from the disk.

extension FileContent {
  /// What stands ready at some place of a file on disk.
  private enum Found {
    /// So many bytes are in the buffer now; then so many are on disk.
    case bytes(ready: Int, onDisk: Int)
    case lost
    /// The file is somewhere else now.
    case moved
  }

  /// Reads what lies within the file.
  ///
  /// - Returns: nil where the file has changed so much meanwhile that it is to be looked at again.
  func readSpilled(
    _ file: SpillFile, _ unconfirmed: UnconfirmedWrites, into buffer: UnsafeMutableRawBufferPointer, at offset: Int64
  ) throws(Errno) -> Int? {
    do throws(Errno) {
      return try read(file, unconfirmed, into: buffer, at: offset)
    } catch {
      // A cut under way may have been to blame, or a write that then was taken back.
      writerLock.lock()
      defer { writerLock.unlock() }
      return try read(file, unconfirmed, into: buffer, at: offset)
    }
  }

  private func read(
    _ file: SpillFile, _ unconfirmed: UnconfirmedWrites, into buffer: UnsafeMutableRawBufferPointer, at offset: Int64
  ) throws(Errno) -> Int? {
    let refusals = unconfirmed.refusals.load(ordering: .acquiring)
    var done = 0
    while done < buffer.count {
      let rest = UnsafeMutableRawBufferPointer(rebasing: buffer[done...])
      let place = offset + Int64(done)
      let found = stateLock.withSharedLock { () -> Found in
        guard spill === file, !isExposed else { return .moved }
        return find(unconfirmed, into: rest, at: place)
      }
      guard case .bytes(let ready, let onDisk) = found else {
        if case .lost = found { throw .ioError }
        return nil
      }
      done += ready
      guard onDisk > 0 else { continue }
      let part = UnsafeMutableRawBufferPointer(rebasing: buffer[done..<done + onDisk])
      guard try readConfirmed(file, unconfirmed, refusals, into: part, at: offset + Int64(done)) else { return nil }
      done += onDisk
    }
    return done
  }

  /// Reads what the disk had a moment ago.
  ///
  /// - Returns: whether it still had it; what it gave may be nothing otherwise.
  private func readConfirmed(
    _ file: SpillFile, _ unconfirmed: UnconfirmedWrites, _ refusals: Int, into part: UnsafeMutableRawBufferPointer,
    at offset: Int64
  ) throws(Errno) -> Bool {
    var failure: Errno?
    var count = 0
    do throws(Errno) { count = try file.read(into: part, at: offset) } catch { failure = error }
    let isStill = stateLock.withSharedLock {
      guard spill === file, !isExposed, unconfirmed.refusals.load(ordering: .acquiring) == refusals,
        offset + Int64(part.count) <= currentSize.load(ordering: .relaxed)
      else { return false }
      // Written meanwhile, so that the disk may have refused it meanwhile.
      let isWritten = copyKnown(unconfirmed, into: part, at: offset)
      return failure == nil && count == part.count || !isWritten
    }
    guard isStill else { return false }
    if let failure { throw failure }
    // The disk has less than it confirmed.
    if count < part.count { throw .ioError }
    return true
  }

  /// Fills the beginning of the buffer with what need not be read from disk, and tells how much comes from there then.
  ///
  /// Preconditions: `stateLock` held.
  private func find(
    _ unconfirmed: UnconfirmedWrites, into buffer: UnsafeMutableRawBufferPointer, at offset: Int64
  ) -> Found {
    var (ready, onDisk) = (0, 0)
    for slice in ChunkSlices(offset: offset, count: buffer.count) {
      let written = table[slice.chunk].written
      let copies = unconfirmed.copies[slice.chunk]
      let touched = PageSet(touchedBy: slice.bytes)
      let disk = touched.intersection(written).subtracting(copies.allocated)
      var position = slice.bytes.lowerBound
      if onDisk == 0 {
        let end = disk.run(from: 0).map { max(position, $0.lowerBound * Layout.page) } ?? slice.bytes.upperBound
        fill(position..<end, of: copies, written, to: buffer.baseAddress! + slice.position)
        ready += end - position
        position = end
      }
      if position == slice.bytes.upperBound { continue }
      let page = position / Layout.page
      guard let run = disk.run(from: page), run.lowerBound == page else { break }
      if !PageSet(pages: run).intersection(unconfirmed.lost[slice.chunk].allocated).isEmpty { return .lost }
      let end = min(run.upperBound * Layout.page, slice.bytes.upperBound)
      onDisk += end - position
      if end < slice.bytes.upperBound { break }
    }
    return .bytes(ready: ready, onDisk: onDisk)
  }

  /// Copies bytes of a chunk that are in its copies, or are zeros.
  private func fill(_ bytes: Range<Int>, of copies: Chunk, _ written: PageSet, to target: UnsafeMutableRawPointer) {
    if bytes.isEmpty { return }
    let touched = PageSet(touchedBy: bytes)
    let known = touched.intersection(written).intersection(copies.allocated)
    if known != touched { memset(target, 0, bytes.count) }
    copy(known, of: copies, bytes, to: target)
  }

  private func copy(_ pages: PageSet, of copies: Chunk, _ bytes: Range<Int>, to target: UnsafeMutableRawPointer) {
    guard let memory = copies.memory else { return }
    var page = 0
    while page < Layout.pagesPerChunk, let run = pages.run(from: page) {
      let part = (run.lowerBound * Layout.page..<run.upperBound * Layout.page).clamped(to: bytes)
      if !part.isEmpty { memcpy(target + (part.lowerBound - bytes.lowerBound), memory + part.lowerBound, part.count) }
      page = run.upperBound
    }
  }

  /// Puts what there are copies of over what was read from disk. Returns whether there were any.
  ///
  /// Preconditions: `stateLock` held.
  private func copyKnown(
    _ unconfirmed: UnconfirmedWrites, into buffer: UnsafeMutableRawBufferPointer, at offset: Int64
  ) -> Bool {
    if unconfirmed.isEmpty { return false }
    var isKnown = false
    for slice in ChunkSlices(offset: offset, count: buffer.count) {
      let copies = unconfirmed.copies[slice.chunk]
      let known = PageSet(touchedBy: slice.bytes).intersection(table[slice.chunk].written).intersection(
        copies.allocated)
      if known.isEmpty { continue }
      isKnown = true
      copy(known, of: copies, slice.bytes, to: buffer.baseAddress! + slice.position)
    }
    return isKnown
  }
}
