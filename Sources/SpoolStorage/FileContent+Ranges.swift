internal import Glibc
internal import Synchronization
public import SystemPackage

extension FileContent {
  /// Sets the size. What is added reads as zeros and takes no space; what is cut off is gone, also when the file grows
  /// again. A file on disk that is cut to nothing starts anew in memory. The corresponding C function is `ftruncate`.
  ///
  /// - Throws: EINVAL for a negative size, EFBIG for one past 2^63 - 65,536, and what the disk gives.
  /// - Complexity: O(bytes cut off); growing past the threshold copies the file.
  public func resize(to newSize: Int64) throws(Errno) {
    guard newSize >= 0 else { throw .invalidArgument }
    guard newSize <= Layout.largestFile else { throw .fileTooLarge }
    writerLock.lock()
    defer { writerLock.unlock() }
    if let exposedFile {
      return try changeExposed(exposedFile) { () throws(Errno) in try exposedFile.resize(to: newSize) }
    }
    if newSize <= size { return try cut(to: newSize) }
    try extend(over: 0..<0, newSize: newSize) {
    } onDisk: { (spill: SpillFile) throws(Errno) in
      try spill.resize(to: newSize)
    } commitOnDisk: {
    }
  }

  /// Gives the range memory or disk space, so that writing to it does not run out; it reads as before. The
  /// corresponding C function is `fallocate`.
  ///
  /// - Parameter keepingSize: whether the size stays when the range ends past it (FALLOC_FL_KEEP_SIZE).
  /// - Throws: EINVAL for a negative offset or a count that is not positive, EFBIG when the end is past what an offset
  ///   can say, ENOSPC with nothing changed, and what the disk gives.
  /// - Complexity: O(chunks in the range). A range that ends past the threshold moves the file to disk.
  public func allocate(offset: Int64, count: Int64, keepingSize: Bool) throws(Errno) {
    try provide(offset, count, keepingSize: keepingSize) { range in
      self.markAllocated(range, renewing: false)
    } onDisk: { (spill, range, _) throws(Errno) in
      try spill.reserve(range)
    } exposed: { (spill, range) throws(Errno) in
      try self.allocateExposed(spill, range, keepingSize: keepingSize)
    }
  }

  /// Makes the range read as zeros and keeps or gives it memory or disk space. The corresponding C function is
  /// `fallocate` with FALLOC_FL_ZERO_RANGE.
  ///
  /// - Parameter keepingSize: whether the size stays when the range ends past it (FALLOC_FL_KEEP_SIZE).
  /// - Throws: as `allocate(offset:count:keepingSize:)`.
  /// - Complexity: O(chunks in the range).
  public func zeroRange(offset: Int64, count: Int64, keepingSize: Bool) throws(Errno) {
    try provide(offset, count, keepingSize: keepingSize) { range in
      self.clear(range, keepingPages: true)
      self.markAllocated(range, renewing: true)
    } onDisk: { (spill, range, newSize) throws(Errno) in
      try self.zero(range, of: spill, newSize: newSize)
    } exposed: { (spill, range) throws(Errno) in
      try self.zeroExposed(spill, range, keepingSize: keepingSize)
    }
  }

  /// Makes the range of the spill file read as zeros, and takes disk space for it.
  private func zero(_ range: Range<Int64>, of spill: SpillFile, newSize: Int64) throws(Errno) {
    guard let unconfirmed = spill.unconfirmed else { return try spill.zero(range, size: newSize) }
    // Space first: when there is none, nothing has been cleared.
    try spill.reserve(range)
    let inner = try clearEdges(of: range, in: spill, unconfirmed)
    // Pages without data need not be zeros on disk, so it may also fail: where what it writes back first is refused.
    do throws(Errno) { try spill.clearReserved(inner) } catch { unconfirmed.hasStaleHoles = true }
  }

  /// Gives the range memory or disk space.
  ///
  /// - Parameters:
  ///   - mark: changes the table, and what is in memory; both locks are held.
  ///   - onDisk: changes the spill file, which is long enough; gets the range and the size that the file will have.
  ///   - exposed: does all of it to an exposed file.
  private func provide(
    _ offset: Int64, _ count: Int64, keepingSize: Bool, _ mark: (Range<Int64>) -> Void,
    onDisk: (SpillFile, Range<Int64>, Int64) throws(Errno) -> Void,
    exposed: (SpillFile, Range<Int64>) throws(Errno) -> Void
  ) throws(Errno) {
    guard offset >= 0, count > 0 else { throw .invalidArgument }
    let range = try byteRange(offset, count)
    writerLock.lock()
    defer { writerLock.unlock() }
    if let exposedFile { return try exposed(exposedFile, range) }
    let newSize = keepingSize ? size : max(size, range.upperBound)
    try extend(over: range, newSize: newSize) {
      mark(range)
    } onDisk: { (spill: SpillFile) throws(Errno) in
      try change(spill, over: range, newSize: newSize) { () throws(Errno) in try onDisk(spill, range, newSize) }
    } commitOnDisk: {
      mark(range)
    }
  }

  /// Makes the range read as zeros and frees the pages that lie in it from end to end. The size stays. The
  /// corresponding C function is `fallocate` with FALLOC_FL_PUNCH_HOLE.
  ///
  /// - Throws: EINVAL for a negative offset or a count that is not positive, EFBIG when the end is past what an offset
  ///   can say, and what the disk gives.
  /// - Complexity: O(chunks that exist in the range).
  public func punchHole(offset: Int64, count: Int64) throws(Errno) {
    guard offset >= 0, count > 0 else { throw .invalidArgument }
    let range = try byteRange(offset, count)
    writerLock.lock()
    defer { writerLock.unlock() }
    stampUse()
    if let exposedFile { return try punchExposed(exposedFile, range) }
    if let spill {
      // Filesystems refuse ranges past their largest file.
      let part = range.clamped(to: 0..<max(Layout.roundedUpToPage(size), endOfTable()))
      try punch(part, of: spill)
    }
    let freed = stateLock.withExclusiveLock { clear(range, keepingPages: false) }
    didFree(freed)
  }

  private func punch(_ range: Range<Int64>, of spill: SpillFile) throws(Errno) {
    guard let unconfirmed = spill.unconfirmed else { return try spill.punchHole(range, size: size) }
    if range.isEmpty { return }
    let inner = try clearEdges(of: range, in: spill, unconfirmed)
    // A page without data is a hole, whatever the disk has there and says.
    do throws(Errno) { try spill.free(inner) } catch { unconfirmed.hasStaleHoles = true }
  }

  /// The first offset at or after `offset` in a page that holds data. Pages that were only allocated hold none, as on
  /// tmpfs. The corresponding C function is `lseek` with SEEK_DATA.
  ///
  /// - Throws: ENXIO when the file ends before, or `offset` is negative.
  /// - Complexity: O(log size).
  public func seekData(from offset: Int64) throws(Errno) -> Int64 {
    if let exposedFile { return try exposedFile.seek(.data, from: offset) }
    let found: Int64? = stateLock.withSharedLock {
      guard offset >= 0, offset < size, let page = table.firstWrittenPage(from: offset >> Layout.pageShift) else {
        return nil
      }
      let data = max(offset, page << Layout.pageShift)
      return data < size ? data : nil
    }
    guard let found else { throw .noSuchAddressOrDevice }
    return found
  }

  /// The first offset at or after `offset` in a page that holds no data; the end of the file counts as one. The
  /// corresponding C function is `lseek` with SEEK_HOLE.
  ///
  /// - Throws: ENXIO when the file ends before, or `offset` is negative.
  /// - Complexity: O(chunks in the run of data).
  public func seekHole(from offset: Int64) throws(Errno) -> Int64 {
    if let exposedFile { return try exposedFile.seek(.hole, from: offset) }
    let found: Int64? = stateLock.withSharedLock {
      guard offset >= 0, offset < size else { return nil }
      return min(size, max(offset, table.firstHolePage(from: offset >> Layout.pageShift) << Layout.pageShift))
    }
    guard let found else { throw .noSuchAddressOrDevice }
    return found
  }

  /// Runs `body` on the spill file after making that long enough, and takes both back if it throws.
  private func change(
    _ spill: SpillFile, over range: Range<Int64>, newSize: Int64, _ body: () throws(Errno) -> Void
  ) throws(Errno) {
    do throws(Errno) {
      if newSize > size { try spill.resize(to: newSize) }
      try body()
    } catch {
      restoreHoles(in: range, of: spill)
      throw error
    }
  }

  /// Cuts the file, and the pages allocated past its end.
  private func cut(to newSize: Int64) throws(Errno) {
    stampUse()
    if spill != nil, newSize == 0 { return startAnew() }
    if let spill, let unconfirmed = spill.unconfirmed { try prepareCut(at: newSize, spill, unconfirmed) }
    try spill?.resize(to: newSize)
    let freed = stateLock.withExclusiveLock {
      if let unconfirmed = spill?.unconfirmed { cutCopies(to: newSize, unconfirmed) }
      var freed = clear(newSize..<Layout.largestFile, keepingPages: false)
      freed.memory += shrinkHead(to: Int(min(newSize, Int64(Layout.chunk))))
      currentSize.store(newSize, ordering: .releasing)
      return freed
    }
    didFree(freed)
  }

  /// Empties a file on disk: it is in memory again.
  private func startAnew() {
    if let unconfirmed = spill?.unconfirmed { unregister(unconfirmed) }
    let (dropped, pages) = stateLock.withExclusiveLock {
      let dropped = spill
      spill = nil
      let freed = clear(0..<Layout.largestFile, keepingPages: false)
      currentSize.store(0, ordering: .releasing)
      residency.store(.memory, ordering: .releasing)
      return (dropped, freed.pages)
    }
    pageCount.store(0, ordering: .relaxed)
    store.data.release(pages)
    // Closing frees the blocks, so it comes before others are told that there is space.
    _ = consume dropped
    didLeaveDisk(pages: pages)
  }

  struct Freed {
    var pages: Int64 = 0
    var memory: Int64 = 0
  }

  private func didFree(_ freed: Freed) {
    if freed.pages > 0 {
      addPages(-freed.pages)
      store.data.release(freed.pages)
      if spill != nil {
        store.disk.release(freed.pages)
        store.spiller.spaceWasFreed()
      }
    }
    if freed.memory > 0 {
      addMemory(-freed.memory)
      store.memory.release(freed.memory)
    }
  }

  /// Makes the range read as zeros: pages that lie in it from end to end hold no data any more, the others are cleared
  /// in memory. On disk it only changes the table.
  ///
  /// Preconditions: both locks held.
  ///
  /// - Parameter keepingPages: whether the pages stay allocated.
  @discardableResult
  func clear(_ range: Range<Int64>, keepingPages: Bool) -> Freed {
    var freed = Freed()
    spill?.unconfirmed?.drop(range)
    let chunks = Layout.chunks(of: range)
    var next = table.next(from: chunks.lowerBound)
    while let index = next, index < chunks.upperBound {
      var chunk = table[index]
      let start = index << Layout.chunkShift
      let bytes = Int(max(range.lowerBound, start) - start)..<Int(min(range.upperBound - start, Int64(Layout.chunk)))
      let covered = PageSet(coveredBy: bytes)
      zero(PageSet(touchedBy: bytes).subtracting(covered).intersection(chunk.written), of: chunk, in: bytes)
      chunk.written = chunk.written.subtracting(covered)
      if !keepingPages {
        freed.pages += Int64(chunk.allocated.intersection(covered).count)
        chunk.allocated = chunk.allocated.subtracting(covered)
        if chunk.allocated.isEmpty {
          release(chunk)
          freed.memory += Int64(chunk.capacity)
          chunk = Chunk()
        }
      }
      table[index] = chunk
      next = table.next(from: index + 1)
    }
    return freed
  }

  /// Clears the part of the pages that is in memory and in `bytes`.
  private func zero(_ pages: PageSet, of chunk: Chunk, in bytes: Range<Int>) {
    guard let memory = chunk.memory else { return }
    var page = 0
    while page < Layout.pagesPerChunk, let run = pages.run(from: page) {
      let part = (run.lowerBound * Layout.page..<run.upperBound * Layout.page).clamped(to: bytes)
        .clamped(to: 0..<chunk.capacity)
      if !part.isEmpty { memset(memory + part.lowerBound, 0, part.count) }
      page = run.upperBound
    }
  }

  /// Returns memory of the first chunk that a smaller file does not need. Returns the bytes freed.
  private func shrinkHead(to size: Int) -> Int64 {
    var chunk = table[0]
    guard let memory = chunk.memory, size > 0, size <= chunk.capacity / 2, size <= Layout.largestBuffer,
      let buffer = malloc(size)
    else { return 0 }
    memcpy(buffer, memory, size)
    release(chunk)
    let freed = chunk.capacity - size
    chunk.memory = buffer
    chunk.capacity = size
    table[0] = chunk
    return Int64(freed)
  }

  /// Makes the pages of the range allocated. Those that were allocated before and never written are data from now on:
  /// this is how tmpfs answers SEEK_DATA after a second fallocate(2).
  ///
  /// Preconditions: both locks held.
  ///
  /// - Parameter renewing: whether pages that lie in the range from end to end count as allocated only now.
  private func markAllocated(_ range: Range<Int64>, renewing: Bool) {
    for index in Layout.chunks(of: range) {
      let start = index << Layout.chunkShift
      let bytes = Int(max(range.lowerBound, start) - start)..<Int(min(range.upperBound - start, Int64(Layout.chunk)))
      var chunk = table[index]
      let touched = PageSet(touchedBy: bytes)
      var again = touched.intersection(chunk.allocated).subtracting(chunk.written)
      if renewing { again = again.subtracting(PageSet(coveredBy: bytes)) }
      // The disk may have other bytes than zeros there.
      if spill?.unconfirmed?.hasStaleHoles == true { again = PageSet() }
      zero(again, of: chunk, in: 0..<Layout.chunk)
      chunk.allocated = chunk.allocated.union(touched)
      chunk.written = chunk.written.union(again)
      table[index] = chunk
    }
  }

  /// The end of the last chunk that exists past the end of the file, else 0.
  private func endOfTable() -> Int64 {
    var end: Int64 = 0
    var next = table.next(from: size >> Layout.chunkShift)
    while let index = next {
      end = (index + 1) << Layout.chunkShift
      next = table.next(from: index + 1)
    }
    return end
  }
}
