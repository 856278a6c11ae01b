internal import Glibc
internal import Synchronization
public import SystemPackage

extension FileContent {
  /// Moves the file to disk now; nothing happens when it is there. Others can read it meanwhile. An unlimited threshold
  /// does not prevent it.
  ///
  /// - Throws: ENOSPC, EMFILE, ENFILE, EIO and others from the disk; the file is then in memory as before.
  /// - Complexity: O(bytes in memory).
  public func rollOver() throws(Errno) {
    writerLock.lock()
    defer { writerLock.unlock() }
    if spill == nil { try extendOnDisk(Growth(), newSize: size, { _ in }, {}) }
  }

  /// Whether the operation that just failed did so because the file could not move to disk. Asking a second time says no.
  package func takeMoveFailure() -> Bool { moveFailed.exchange(false, ordering: .relaxed) }

  /// Whether a write of that many bytes would most likely find room in memory. Takes no lock: others may be faster.
  package func staysInMemory(writing count: Int, at offset: Int64) -> Bool {
    let (end, overflows) = offset.addingReportingOverflow(Int64(count))
    return !overflows && !isRolledOver && end <= largestInMemory
      && Int64(count) + Int64(2 * Layout.chunk) < store.memory.available
  }

  /// How much is gained by moving the file to disk: its memory, weighed by how long it has not been used.
  func spillScore(now: UInt32) -> Double {
    Double(bytesInMemory) * Double(now &- lastUse.load(ordering: .relaxed) &+ 1)
  }

  enum SpillOutcome {
    /// Bytes of memory.
    case freed(Int64)
    /// Somebody is changing the file.
    case busy
    /// It has nothing to give, or is too large for the spill capacity left.
    case unsuitable
    /// The disk or the process's limits say no, as they would for another file.
    case failed
  }

  /// Moves the file to disk unless somebody is changing it.
  func spillIfIdle() -> SpillOutcome {
    guard writerLock.tryLock() else { return .busy }
    defer { writerLock.unlock() }
    let bytes = bytesInMemory
    let pages = pageCount.load(ordering: .relaxed)
    // A smaller file may still fit.
    guard spill == nil, bytes > 0, maySpill, pages <= store.disk.available else { return .unsuitable }
    do throws(Errno) {
      try extendOnDisk(Growth(), newSize: size, { _ in }, {})
      return .freed(bytes)
    } catch {
      moveFailed.store(false, ordering: .relaxed)
      return .failed
    }
  }

  /// Runs an operation on the spill file, after moving the file there if it is in memory. The move and the operation
  /// become visible together, and when either fails the file is as it was.
  ///
  /// Preconditions: `writerLock` held; data pages reserved.
  func extendOnDisk(
    _ growth: Growth, newSize: Int64, _ onDisk: (SpillFile) throws(Errno) -> Void, _ commit: () -> Void
  ) throws(Errno) {
    let isMoving = spill == nil
    if isMoving { store.moveBegins() }
    defer { if isMoving { store.moveEnded() } }
    let pages = growth.pages + (isMoving ? pageCount.load(ordering: .relaxed) : 0)
    guard store.disk.reserve(pages) else {
      if isMoving { moveFailed.store(true, ordering: .relaxed) }
      throw .noSpace
    }
    let target: SpillFile
    do throws(Errno) {
      if let spill { target = spill } else { target = try makeCopyOnDisk() }
      try run(onDisk, on: target, isMoving)
    } catch {
      store.disk.release(pages)
      if isMoving {
        store.counters.failedRollovers.add(1, ordering: .relaxed)
        moveFailed.store(true, ordering: .relaxed)
      }
      throw error
    }
    stateLock.withExclusiveLock {
      spill = target
      commit()
      if newSize != size { currentSize.store(newSize, ordering: .releasing) }
      residency.store(.disk, ordering: .releasing)
    }
    if isMoving { didMoveToDisk() }
  }

  private func run(
    _ onDisk: (SpillFile) throws(Errno) -> Void, on target: SpillFile, _ isMoving: Bool
  ) throws(Errno) {
    do throws(Errno) {
      try onDisk(target)
    } catch {
      // The store's thread must not come to a file in memory.
      if isMoving, let unconfirmed = target.unconfirmed { unregister(unconfirmed) }
      throw error
    }
  }

  /// The copy is complete when this returns: the disk has confirmed it.
  ///
  /// Preconditions: in memory, `writerLock` held; readers may be at work.
  private func makeCopyOnDisk() throws(Errno) -> SpillFile {
    let directory = if let directory { directory } else { try store.spillTarget.open() }
    let copy = try store.makeSpillFile(in: directory, for: self)
    let size = size
    var end: Int64 = 0
    var gatherer = SpillGatherer(copy)
    try table.forEach(in: 0..<Layout.largestFile) { (index, chunk, _) throws(Errno) in
      let start = index << Layout.chunkShift
      end = max(end, try self.write(chunk, at: start, size: size, to: &gatherer))
      try reserveUnwrittenPages(of: chunk, at: start, in: copy)
    }
    try gatherer.flush()
    // Most files end with data, and are as long as they have to be.
    if end < size { try copy.resize(to: size) }
    if copy.unconfirmed != nil, end > 0 {
      do throws(Errno) {
        try copy.finishWriting(0..<0)
      } catch {
        store.didRefuse(self, error)
        throw error
      }
    }
    return copy
  }

  /// Returns the end of what is written then.
  private func write(
    _ chunk: Chunk, at start: Int64, size: Int64, to gatherer: inout SpillGatherer
  ) throws(Errno) -> Int64 {
    guard let memory = chunk.memory else { return 0 }
    var written: Int64 = 0
    let end = Int(min(Int64(Layout.chunk), max(0, size - start)))
    try chunk.forEachWrittenRun { (run) throws(Errno) in
      let run = run.clamped(to: 0..<end)
      try gatherer.append(
        UnsafeRawBufferPointer(start: memory + run.lowerBound, count: run.count), at: start + Int64(run.lowerBound))
      store.counters.rolloverBytes.add(Int64(run.count), ordering: .relaxed)
      if !run.isEmpty { written = start + Int64(run.upperBound) }
    }
    return written
  }

  /// Takes disk space for the pages that are allocated and hold no data.
  private func reserveUnwrittenPages(of chunk: Chunk, at start: Int64, in spill: SpillFile) throws(Errno) {
    let reserved = chunk.allocated.subtracting(chunk.written)
    var page = 0
    while page < Layout.pagesPerChunk, let run = reserved.run(from: page) {
      let range = start + Int64(run.lowerBound * Layout.page)..<start + Int64(run.upperBound * Layout.page)
      // Where the filesystem cannot, space is taken by the writes themselves.
      do throws(Errno) { try spill.reserve(range) } catch { if error != .notSupported { throw error } }
      page = run.upperBound
    }
  }

  private func didMoveToDisk() {
    store.counters.rollovers.add(1, ordering: .relaxed)
    store.counters.spilledFiles.add(1, ordering: .relaxed)
    dropMemory()
    if isCandidate {
      isCandidate = false
      store.candidates.remove(ObjectIdentifier(self))
    }
  }

  /// Frees the memory of a file that is on disk. Only the table needs the lock, and only for some chunks at a time.
  private func dropMemory() {
    var next = table.next(from: 0)
    while next != nil {
      next = stateLock.withExclusiveLock {
        var remaining = 256
        while remaining > 0, let index = next {
          var chunk = table[index]
          release(chunk)
          chunk.memory = nil
          chunk.capacity = 0
          table[index] = chunk
          next = table.next(from: index + 1)
          remaining -= 1
        }
        return next
      }
    }
    store.memory.release(heldMemory.exchange(0, ordering: .relaxed))
  }

  /// Writes to the spill file. First what covers pages that hold no data: if the disk fills up there, that is taken
  /// back and no old byte has changed. Pages that hold data have their blocks already.
  ///
  /// Preconditions: `writerLock` held.
  func write(_ bytes: UnsafeRawBufferPointer, over range: Range<Int64>, to spill: SpillFile) throws(Errno) {
    if let unconfirmed = spill.unconfirmed { return try write(bytes, over: range, to: spill, unconfirmed) }
    do throws(Errno) {
      try forEachRun(in: range, written: false) { (run) throws(Errno) in
        try spill.write(part(run, of: bytes, over: range), at: run.lowerBound)
      }
      try forEachRun(in: range, written: true) { (run) throws(Errno) in
        try spill.write(part(run, of: bytes, over: range), at: run.lowerBound)
      }
    } catch {
      restoreHoles(in: range, of: spill)
      throw error
    }
  }

  private func part(
    _ run: Range<Int64>, of bytes: UnsafeRawBufferPointer, over range: Range<Int64>
  ) -> UnsafeRawBufferPointer {
    let start = Int(run.lowerBound - range.lowerBound)
    return UnsafeRawBufferPointer(rebasing: bytes[start..<start + run.count])
  }

  /// What a failed write left where there was no data reads as zeros again. Errors here have nobody to go to: the disk
  /// that failed once fails again, and the write's error is reported.
  func restoreHoles(in range: Range<Int64>, of spill: SpillFile) {
    if range.upperBound > size { try? spill.resize(to: size) }
    let end = Layout.roundedUpToPage(min(range.upperBound, size))
    let first = min(end, range.lowerBound & ~Int64(Layout.page - 1))
    try? forEachRun(in: first..<end, written: false) { (run) throws(Errno) in
      do throws(Errno) { try spill.free(run) } catch { spill.unconfirmed?.hasStaleHoles = true }
    }
    try? table.forEach(in: range) { (index, chunk, _) throws(Errno) in
      try reserveUnwrittenPages(of: chunk, at: index << Layout.chunkShift, in: spill)
    }
  }

  /// Calls `body` with the unbroken parts of `range` whose pages hold data, or hold none.
  ///
  /// - Complexity: O(chunks in the range).
  func forEachRun(
    in range: Range<Int64>, written: Bool, _ body: (Range<Int64>) throws(Errno) -> Void
  ) throws(Errno) {
    let pages = Layout.pages(of: range)
    var page = pages.lowerBound
    while page < pages.upperBound {
      let data = min(pages.upperBound, table.firstWrittenPage(from: page) ?? .max)
      let dataEnd = table.firstHolePage(from: data, before: pages.upperBound)
      let run = written ? data..<dataEnd : page..<data
      let bytes = (run.lowerBound << Layout.pageShift..<run.upperBound << Layout.pageShift).clamped(to: range)
      if !bytes.isEmpty { try body(bytes) }
      page = dataEnd
    }
  }

  /// Preconditions: both locks held.
  func markWritten(_ range: Range<Int64>) {
    for index in Layout.chunks(of: range) {
      var chunk = table[index]
      let start = index << Layout.chunkShift
      let bytes = Int(max(range.lowerBound, start) - start)..<Int(min(range.upperBound - start, Int64(Layout.chunk)))
      let touched = PageSet(touchedBy: bytes)
      if touched.subtracting(chunk.written).isEmpty { continue }
      chunk.allocated = chunk.allocated.union(touched)
      chunk.written = chunk.written.union(touched)
      table[index] = chunk
    }
  }
}
