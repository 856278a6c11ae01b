internal import CSpoolSystem
internal import Glibc
internal import Synchronization
public import SystemPackage

extension FileContent {
  /// Writes all of `bytes` at `offset`; a gap after the end becomes a hole. The corresponding C function is `pwrite`.
  ///
  /// - Returns: the number of bytes, which is all of them.
  /// - Throws: EINVAL for a negative offset, EFBIG when the end is past what an offset can say, ENOSPC at a limit or on
  ///   a full disk, and what the disk gives.
  /// - Complexity: O(bytes), and O(log size) to find the first; a write that crosses the threshold copies the file.
  @discardableResult
  public func write(_ bytes: UnsafeRawBufferPointer, at offset: Int64) throws(Errno) -> Int {
    guard offset >= 0 else { throw .invalidArgument }
    writerLock.lock()
    defer { writerLock.unlock() }
    try writeLocked(bytes, at: offset)
    return bytes.count
  }

  /// Writes all of `bytes` at the end of the file. The corresponding C function is `write` with O_APPEND.
  ///
  /// - Returns: the offset that they went to.
  /// - Throws: as `write(_:at:)`.
  @discardableResult
  public func append(_ bytes: UnsafeRawBufferPointer) throws(Errno) -> Int64 {
    writerLock.lock()
    defer { writerLock.unlock() }
    let offset = size
    try writeLocked(bytes, at: offset)
    return offset
  }

  @inline(__always)
  private func writeLocked(_ bytes: UnsafeRawBufferPointer, at offset: Int64) throws(Errno) {
    guard !bytes.isEmpty else { return }
    if !writeToBuffer(bytes, at: offset, locking: true) {
      try writeAnywhere(bytes, over: byteRange(offset, Int64(bytes.count)))
    }
  }

  @inline(never)
  private func writeAnywhere(_ bytes: UnsafeRawBufferPointer, over range: Range<Int64>) throws(Errno) {
    if let exposedFile { return try writeExposed(exposedFile, bytes, over: range) }
    let newSize = max(size, range.upperBound)
    try extend(over: range, newSize: newSize) {
      self.copyIn(bytes, at: range.lowerBound)
    } onDisk: { (spill: SpillFile) throws(Errno) in
      try self.write(bytes, over: range, to: spill)
    } commitOnDisk: {
      self.markWritten(range)
    }
  }

  /// The range, if a file can reach to its end.
  func byteRange(_ offset: Int64, _ count: Int64) throws(Errno) -> Range<Int64> {
    let (end, overflows) = offset.addingReportingOverflow(count)
    if overflows || end > Layout.largestFile { throw .fileTooLarge }
    return offset..<end
  }

  /// Makes `range` allocated and runs the operation where the file is, or has to go.
  ///
  /// Everything that can fail comes before anything is changed.
  ///
  /// Preconditions: `writerLock` held.
  ///
  /// - Parameters:
  ///   - inMemory: changes the bytes; chunks for the range are there, `stateLock` is held exclusively.
  ///   - onDisk: changes the spill file, and undoes a part if it throws.
  ///   - commitOnDisk: changes the table, `stateLock` is held exclusively.
  func extend(
    over range: Range<Int64>, newSize: Int64, inMemory: () -> Void, onDisk: (SpillFile) throws(Errno) -> Void,
    commitOnDisk: () -> Void
  ) throws(Errno) {
    stampUse()
    let growth = growth(over: range)
    guard store.reserveData(growth.pages) else { throw .noSpace }
    do throws(Errno) {
      if spill != nil || max(newSize, range.upperBound) > largestInMemory {
        try extendOnDisk(growth, newSize: newSize, onDisk, commitOnDisk)
      } else if store.memory.reserve(growth.memory) {
        if try !extendInMemory(over: range, growth, newSize: newSize, inMemory) {
          try extendOnDisk(growth, newSize: newSize, onDisk, commitOnDisk)
        }
      } else {
        try extendAtTheWall(over: range, growth, newSize: newSize, inMemory, onDisk, commitOnDisk)
      }
    } catch {
      store.data.release(growth.pages)
      throw error
    }
    addPages(growth.pages)
  }

  /// The budget is used up: this file goes on on disk. Where it cannot, others make room.
  private func extendAtTheWall(
    over range: Range<Int64>, _ growth: Growth, newSize: Int64, _ inMemory: () -> Void,
    _ onDisk: (SpillFile) throws(Errno) -> Void, _ commitOnDisk: () -> Void
  ) throws(Errno) {
    var reason = Errno.noSpace
    if maySpill {
      do throws(Errno) {
        return try extendOnDisk(growth, newSize: newSize, onDisk, commitOnDisk)
      } catch {
        reason = error
      }
    }
    guard store.reserveMemoryBySpillingOthers(growth.memory, for: self) else { throw reason }
    moveFailed.store(false, ordering: .relaxed)
    if try !extendInMemory(over: range, growth, newSize: newSize, inMemory) { throw .noMemory }
  }

  /// Whether the store may move the file to disk unasked.
  var maySpill: Bool { largestInMemory != .max && store.canSpill }

  /// Returns false when the system had no memory and the file should go to disk; the reservation is used up either way.
  private func extendInMemory(
    over range: Range<Int64>, _ growth: Growth, newSize: Int64, _ inMemory: () -> Void
  ) throws(Errno) -> Bool {
    let taken = stateLock.withExclusiveLock {
      let (taken, isComplete) = growth.memory == 0 ? (0, true) : populate(range, growth)
      if isComplete {
        inMemory()
        if newSize != size { currentSize.store(newSize, ordering: .releasing) }
      }
      return (bytes: taken, isComplete: isComplete)
    }
    if taken.bytes > 0 { didTakeMemory(taken.bytes) }
    if taken.isComplete { return true }
    store.memory.release(growth.memory - taken.bytes)
    if maySpill { return false }
    throw .noMemory
  }

  /// Preconditions: `writerLock` held.
  @inline(__always)
  func didTakeMemory(_ bytes: Int64) {
    if addMemory(bytes) >= Layout.chunk { didTakeChunks(bytes) }
    if store.memory.used > store.highWater { store.spiller.requestSpilling() }
  }

  @inline(never)
  private func didTakeChunks(_ bytes: Int64) {
    let chunks = UInt32(truncatingIfNeeded: (bytes + Int64(Layout.chunk) - 1) >> Layout.chunkShift)
    store.counters.clock.wrappingAdd(chunks, ordering: .relaxed)
    if store.pool.isRunningLow { store.spiller.requestStock() }
    if isCandidate || !maySpill { return }
    isCandidate = true
    store.candidates.insert(self)
  }

  /// Preconditions: `writerLock` held.
  @inline(__always)
  func addPages(_ pages: Int64) {
    pageCount.store(pageCount.load(ordering: .relaxed) + pages, ordering: .relaxed)
  }

  /// Returns what the file holds then. Preconditions: `writerLock` held.
  @inline(__always)
  @discardableResult
  func addMemory(_ bytes: Int64) -> Int64 {
    let held = heldMemory.load(ordering: .relaxed) + bytes
    heldMemory.store(held, ordering: .relaxed)
    return held
  }

  /// Preconditions: chunks are there, `stateLock` held exclusively.
  private func copyIn(_ bytes: UnsafeRawBufferPointer, at offset: Int64) {
    let isLarge = max(allocatedBytes, Int64(bytes.count)) >= Layout.smallestUncached
    for slice in ChunkSlices(offset: offset, count: bytes.count) {
      var chunk = table[slice.chunk]
      guard let memory = chunk.memory else { preconditionFailure("no memory to write to") }
      let touched = PageSet(touchedBy: slice.bytes)
      let fresh = touched.subtracting(chunk.written)
      if !fresh.isEmpty {
        zeroEdges(of: chunk, around: slice.bytes, fresh: fresh)
        chunk.allocated = chunk.allocated.union(touched)
        chunk.written = chunk.written.union(touched)
        table[slice.chunk] = chunk
      }
      let source = bytes.baseAddress! + slice.position
      if isLarge, slice.bytes.count == Layout.chunk {
        spool_copy_past_caches(memory, source, Layout.chunk)
      } else {
        memcpy(memory + slice.bytes.lowerBound, source, slice.bytes.count)
      }
    }
  }

  /// Clears what a write leaves uncovered of pages that held no data before: the memory is recycled.
  @inline(__always)
  func zeroEdges(of chunk: Chunk, around bytes: Range<Int>, fresh: PageSet) {
    guard let memory = chunk.memory else { return }
    let within = Layout.page - 1
    if fresh.contains(bytes.lowerBound >> Int(Layout.pageShift)) {
      zero(memory, bytes.lowerBound & ~within..<bytes.lowerBound)
    }
    let last = bytes.upperBound - 1
    let end = min((last | within) + 1, chunk.capacity)
    if fresh.contains(last >> Int(Layout.pageShift)), end > bytes.upperBound { zero(memory, bytes.upperBound..<end) }
  }
}
