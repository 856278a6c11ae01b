internal import Glibc
internal import Synchronization
internal import SystemPackage

// Writes to a file on disk whose disk may refuse them later: first the copy in memory, then the disk. Whole pages go there, so
// that pages without data may have anything on disk.

extension FileContent {
  /// Bytes that are written at once, or not at all.
  private static let largestPiece: Int64 = 1 << 20

  /// Writes to the spill file. If it throws, no old byte has changed unless the disk failed in the middle of old ones; these
  /// are EIO then, until they are written again.
  ///
  /// Preconditions: `writerLock` held.
  ///
  /// - Parameter bytes: nil writes zeros.
  func write(
    _ bytes: UnsafeRawBufferPointer?, over range: Range<Int64>, to spill: SpillFile, _ unconfirmed: UnconfirmedWrites
  ) throws(Errno) {
    let end = max(size, range.upperBound)
    unconfirmed.stagedEnd = end
    defer { unconfirmed.stagedEnd = 0 }
    var start = range.lowerBound
    do throws(Errno) {
      while start < range.upperBound {
        let pieceEnd = min(range.upperBound, (start / Self.largestPiece + 1) * Self.largestPiece)
        let piece = start..<pieceEnd
        let source = bytes.map {
          UnsafeRawBufferPointer(rebasing: $0[Int(start - range.lowerBound)...].prefix(piece.count))
        }
        try writePiece(source, over: piece, to: spill, unconfirmed, end: end)
        start = pieceEnd
      }
    } catch {
      stateLock.withExclusiveLock { dropCopiesOfHoles(in: range, unconfirmed) }
      restoreHoles(in: range, of: spill)
      throw error
    }
  }

  /// What a piece replaces among the copies.
  private struct Undo {
    let chunk: Int64
    let touched: PageSet
    /// Pages that there was a copy of.
    let known: PageSet
    /// Copies of those, one after the other.
    let saved: [UInt8]
  }

  private func writePiece(
    _ source: UnsafeRawBufferPointer?, over range: Range<Int64>, to spill: SpillFile, _ unconfirmed: UnconfirmedWrites,
    end: Int64
  ) throws(Errno) {
    let hasRoom = takeRoom(for: range, of: spill, unconfirmed)
    try makeChunks(for: range, unconfirmed)
    let undo: [Undo]
    do throws(Errno) {
      undo = try stage(source, over: range, from: spill, unconfirmed)
    } catch {
      stateLock.withExclusiveLock { removeEmptyCopies(in: range, unconfirmed) }
      throw error
    }
    var reachedData = false
    do throws(Errno) {
      try writeCopies(over: range, written: false, to: spill, unconfirmed, end: end)
      reachedData = true
      try writeCopies(over: range, written: true, to: spill, unconfirmed, end: end)
      if !hasRoom { try confirm(range, spill, unconfirmed) }
    } catch {
      stateLock.withExclusiveLock { for change in undo { take(back: change, unconfirmed, losing: reachedData) } }
      throw error
    }
    if !unconfirmed.isEmpty { register(unconfirmed) }
    startWriting(range, spill, unconfirmed)
  }

  /// Preconditions: room has been taken.
  private func makeChunks(for range: Range<Int64>, _ unconfirmed: UnconfirmedWrites) throws(Errno) {
    let growth = unconfirmed.growth(over: range)
    if growth == 0 { return }
    var made: Int64 = 0
    let isComplete = stateLock.withExclusiveLock {
      for index in Layout.chunks(of: range) where unconfirmed.copies[index].memory == nil {
        guard unconfirmed.makeChunk(index) else {
          removeEmptyCopies(in: range, unconfirmed)
          return false
        }
        made += Int64(Layout.chunk)
      }
      return true
    }
    if isComplete { return }
    // What was made has given its room back.
    store.unconfirmedBytes.release(growth - made)
    throw .noMemory
  }

  private func removeEmptyCopies(in range: Range<Int64>, _ unconfirmed: UnconfirmedWrites) {
    for index in Layout.chunks(of: range) { unconfirmed.drop(PageSet(), of: index) }
  }

  /// Puts the bytes into the copies, which readers see from then on where the file has data.
  private func stage(
    _ source: UnsafeRawBufferPointer?, over range: Range<Int64>, from spill: SpillFile, _ unconfirmed: UnconfirmedWrites
  ) throws(Errno) -> [Undo] {
    var undo: [Undo] = []
    for slice in ChunkSlices(offset: range.lowerBound, count: range.count) {
      let chunk = unconfirmed.copies[slice.chunk]
      let touched = PageSet(touchedBy: slice.bytes)
      let known = touched.intersection(chunk.allocated)
      let partial = touched.subtracting(PageSet(coveredBy: slice.bytes)).subtracting(known)
      for page in 0..<Layout.pagesPerChunk where partial.contains(page) {
        try load(page, of: slice.chunk, from: spill, unconfirmed)
      }
      let saved = known.isEmpty ? [] : Self.save(known, of: chunk)
      undo.append(Undo(chunk: slice.chunk, touched: touched, known: known, saved: saved))
      // Nobody sees these pages yet.
      Self.copy(source, slice, to: chunk, touched.subtracting(known))
    }
    stateLock.withExclusiveLock {
      for (slice, change) in zip(ChunkSlices(offset: range.lowerBound, count: range.count), undo) {
        if !change.known.isEmpty { Self.copy(source, slice, to: unconfirmed.copies[slice.chunk], change.known) }
        unconfirmed.add(change.touched, of: slice.chunk)
      }
    }
    return undo
  }

  /// Copies the part of the slice that lies in the pages.
  private static func copy(
    _ source: UnsafeRawBufferPointer?, _ slice: ChunkSlices.Slice, to chunk: Chunk, _ pages: PageSet
  ) {
    guard let memory = chunk.memory else { return }
    var page = 0
    while page < Layout.pagesPerChunk, let run = pages.run(from: page) {
      let part = (run.lowerBound * Layout.page..<run.upperBound * Layout.page).clamped(to: slice.bytes)
      if let source {
        memcpy(
          memory + part.lowerBound, source.baseAddress! + slice.position + (part.lowerBound - slice.bytes.lowerBound),
          part.count)
      } else {
        memset(memory + part.lowerBound, 0, part.count)
      }
      page = run.upperBound
    }
  }

  /// Fills a page's copy, which nobody sees yet, with what the page reads as.
  func load(_ page: Int, of index: Int64, from spill: SpillFile, _ unconfirmed: UnconfirmedWrites) throws(Errno) {
    let memory = unconfirmed.copies[index].memory! + page * Layout.page
    let start = index << Layout.chunkShift + Int64(page * Layout.page)
    memset(memory, 0, Layout.page)
    guard table[index].written.contains(page) else { return }
    if unconfirmed.lost[index].allocated.contains(page) { throw .ioError }
    let count = Int(min(Int64(Layout.page), size - start))
    guard count > 0 else { return }
    let buffer = UnsafeMutableRawBufferPointer(start: memory, count: count)
    if try spill.read(into: buffer, at: start) < count { throw .ioError }
  }

  private static func save(_ pages: PageSet, of chunk: Chunk) -> [UInt8] {
    guard let memory = chunk.memory else { return [] }
    return [UInt8](unsafeUninitializedCapacity: pages.count * Layout.page) { buffer, count in
      for page in 0..<Layout.pagesPerChunk where pages.contains(page) {
        memcpy(buffer.baseAddress! + count, memory + page * Layout.page, Layout.page)
        count += Layout.page
      }
    }
  }

  /// Preconditions: both locks held.
  ///
  /// - Parameter losing: whether the disk may have new bytes in place of old ones.
  private func take(back change: Undo, _ unconfirmed: UnconfirmedWrites, losing: Bool) {
    let chunk = unconfirmed.copies[change.chunk]
    if let memory = chunk.memory {
      var position = 0
      for page in 0..<Layout.pagesPerChunk where change.known.contains(page) {
        change.saved.withUnsafeBytes {
          _ = memcpy(memory + page * Layout.page, $0.baseAddress! + position, Layout.page)
        }
        position += Layout.page
      }
    }
    // What the disk has of them may be new.
    unconfirmed.refuse(change.known, of: change.chunk)
    let others = change.touched.subtracting(change.known)
    unconfirmed.drop(others, of: change.chunk)
    if losing { unconfirmed.lose(others.intersection(table[change.chunk].written), of: change.chunk) }
  }

  /// Writes copies to the disk: of pages that hold data, or of those that hold none.
  private func writeCopies(
    over range: Range<Int64>, written: Bool, to spill: SpillFile, _ unconfirmed: UnconfirmedWrites, end: Int64
  ) throws(Errno) {
    var gatherer = SpillGatherer(spill, isPadded: true)
    for slice in ChunkSlices(offset: range.lowerBound, count: range.count) {
      let hasData = table[slice.chunk].written
      let touched = PageSet(touchedBy: slice.bytes)
      let pages = written ? touched.intersection(hasData) : touched.subtracting(hasData)
      if !pages.isEmpty { try gatherer.append(pages, of: unconfirmed.copies[slice.chunk], slice.chunk, end: end) }
    }
    try gatherer.flush()
  }

  /// Waits until the disk has the range, where there is no room for its copies.
  private func confirm(_ range: Range<Int64>, _ spill: SpillFile, _ unconfirmed: UnconfirmedWrites) throws(Errno) {
    let chunks = Layout.chunks(of: range).filter { unconfirmed.copies[$0].written.isEmpty }
    let span = Layout.chunks(of: range)
    try finishWriting(
      spill, unconfirmed, chunks, span.lowerBound << Layout.chunkShift..<span.upperBound << Layout.chunkShift)
  }

  /// Has the kernel bring what was written to disk before the writer has to wait for it.
  private func startWriting(_ range: Range<Int64>, _ spill: SpillFile, _ unconfirmed: UnconfirmedWrites) {
    if spill.isOnItsWay(range.count) { return }
    unconfirmed.unstartedBytes += range.count
    if unconfirmed.unstartedBytes < Self.largestPiece { return }
    unconfirmed.unstartedBytes = 0
    spill.startWriting(0..<0)
  }

  /// Preconditions: both locks held.
  private func dropCopiesOfHoles(in range: Range<Int64>, _ unconfirmed: UnconfirmedWrites) {
    for slice in ChunkSlices(offset: range.lowerBound, count: range.count) {
      unconfirmed.drop(PageSet(touchedBy: slice.bytes).subtracting(table[slice.chunk].written), of: slice.chunk)
    }
  }

  // MARK: - Cuts and holes

  /// Makes the parts of the range read as zeros that do not cover a page, and returns the range that covers pages.
  ///
  /// Preconditions: `writerLock` held; the file has a copy on disk.
  func clearEdges(
    of range: Range<Int64>, in spill: SpillFile, _ unconfirmed: UnconfirmedWrites
  ) throws(Errno) -> Range<Int64> {
    let first = Layout.roundedUpToPage(range.lowerBound)
    let inner = first..<max(first, range.upperBound & ~Int64(Layout.page - 1))
    for page in Set([range.lowerBound >> Layout.pageShift, (range.upperBound - 1) >> Layout.pageShift]) {
      let bytes = Layout.bytes(ofPage: page)
      let edge = bytes.clamped(to: range)
      if edge.count == Layout.page || !hasData(page) { continue }
      try write(nil, over: edge.clamped(to: 0..<max(size, edge.lowerBound)), to: spill, unconfirmed)
    }
    return inner
  }

  private func hasData(_ page: Int64) -> Bool {
    let perChunk = Int64(Layout.pagesPerChunk)
    return table[page / perChunk].written.contains(Int(page % perChunk))
  }

  /// Gets ready to cut the file in the middle of a page: the disk will have that page to write once more.
  ///
  /// Preconditions: `writerLock` held.
  func prepareCut(at newSize: Int64, _ spill: SpillFile, _ unconfirmed: UnconfirmedWrites) throws(Errno) {
    let page = newSize >> Layout.pageShift
    if newSize & Int64(Layout.page - 1) == 0 || !hasData(page) { return }
    let within = newSize..<min(size, Layout.bytes(ofPage: page).upperBound)
    if within.isEmpty { return }
    let (index, number) = (newSize >> Layout.chunkShift, Int(page % Int64(Layout.pagesPerChunk)))
    if unconfirmed.copies[index].allocated.contains(number) { return }
    // One chunk more or less does no harm, and a cut must not fail for want of room.
    _ = takeRoom(for: within, of: spill, unconfirmed)
    try makeChunks(for: within, unconfirmed)
    do throws(Errno) {
      try load(number, of: index, from: spill, unconfirmed)
    } catch {
      // What cannot be read may be cut all the same.
      return stateLock.withExclusiveLock { removeEmptyCopies(in: within, unconfirmed) }
    }
    stateLock.withExclusiveLock { unconfirmed.add(PageSet(pages: number..<number + 1), of: index) }
    register(unconfirmed)
  }

  /// Cuts the copies. Preconditions: both locks held.
  func cutCopies(to newSize: Int64, _ unconfirmed: UnconfirmedWrites) {
    unconfirmed.drop(newSize..<Layout.largestFile)
    let index = newSize >> Layout.chunkShift
    let within = Int(newSize & Int64(Layout.chunk - 1))
    let end = (within + Layout.page - 1) / Layout.page * Layout.page
    if within < end, let memory = unconfirmed.copies[index].memory { memset(memory + within, 0, end - within) }
  }
}
