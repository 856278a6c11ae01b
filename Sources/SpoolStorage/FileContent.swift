internal import Glibc
internal import Synchronization
public import SystemPackage

/// The bytes of one file: in memory until it outgrows its threshold or memory gets short, then on disk.
///
/// Safe to use from many threads. Reads of a file run in parallel, also while it moves to disk; a write, resize or the
/// like is seen as a whole or not at all. An operation that throws ENOSPC, EFBIG, EMFILE or ENFILE has changed neither
/// bytes nor size nor residency; after EIO from the disk the bytes of that write are unspecified. A file whose descriptor
/// is exposed is the kernel's: `exposeDescriptor()` says what holds for it.
public final class FileContent: @unchecked Sendable {
  // @unchecked: `table` and `spill` change only with both locks held (`writerLock`, and `stateLock` exclusively) and
  // are read with either of them; `isCandidate` is protected by `writerLock`.
  //
  // Exclusivity is unchecked where the locks see to it: the checks took as long as the work.
  //
  // Lock order: `writerLock`, `stateLock`, then the locks of pool and candidates. A thread that holds one file's
  // `writerLock` takes another's only by `tryLock`.

  /// Retained, unless it is permanent: counting its references takes as long as all the rest of making an empty file.
  unowned(unsafe) let store: SpoolStore
  /// The largest size in memory; `.max` never leaves it by itself.
  let largestInMemory: Int64
  /// Where the file spills to; nil: where the store's files do.
  let directory: SpillDirectory?
  /// Serialises whatever changes the file, and its move to disk.
  let writerLock = Lock()
  /// Held shared to look at the state, exclusively only for a change in memory, and never during disk I/O.
  let stateLock = SharedLock()
  /// When it was last used, by the store's clock.
  let lastUse = Atomic<UInt32>(0)
  @exclusivity(unchecked) var isCandidate = false
  /// Whether an operation failed because the file could not move to disk, and nobody has asked yet.
  let moveFailed = Atomic<Bool>(false)
  let residency = Atomic<Residency>(.memory)
  let currentSize = Atomic<Int64>(0)
  /// Pages that are allocated. Changed with `writerLock` held, so not by atomic additions.
  let pageCount = Atomic<Int64>(0)
  /// Bytes of the memory budget that the file holds. Likewise.
  let heldMemory = Atomic<Int64>(0)
  @exclusivity(unchecked) var table = ChunkTable()
  /// Where the bytes are when they are not in memory.
  @exclusivity(unchecked) var spill: SpillFile?

  enum Residency: UInt8, AtomicRepresentable {
    case memory, disk
    /// On disk, and others may have the descriptor.
    case exposed
  }

  /// An empty file.
  ///
  /// - Parameter threshold: nil takes the store's.
  public convenience init(store: SpoolStore, threshold: SpoolConfiguration.Threshold? = nil) {
    self.init(store: store, threshold: threshold, spillingTo: nil)
  }

  /// An empty file that spills to a directory of its own.
  @inline(__always)
  package init(
    store: borrowing SpoolStore, threshold: SpoolConfiguration.Threshold?, spillingTo directory: SpillDirectory?
  ) {
    self.store = copy store
    if !store.isPermanent { _ = Unmanaged.passRetained(copy store) }
    self.directory = directory
    largestInMemory = threshold?.largestInMemory ?? store.largestInMemory
  }

  deinit {
    if isCandidate { store.candidates.remove(ObjectIdentifier(self)) }
    if let unconfirmed = spill?.unconfirmed { unregister(unconfirmed) }
    release(table[0])
    if !table.isSmall { releaseTail() }
    store.memory.release(heldMemory.load(ordering: .relaxed))
    let pages = pageCount.load(ordering: .relaxed)
    if let spill {
      // Closing frees the blocks, so it comes before others are told that there is space, or else they wait for it.
      if store.defersClosing.load(ordering: .relaxed) { spill.closeLater(pages: pages) }
      self.spill = nil
      didLeaveDisk(pages: pages)
    }
    store.data.release(pages)
    if !store.isPermanent { Unmanaged.passUnretained(store).release() }
  }

  /// The chunks after the first.
  @inline(never)
  private func releaseTail() {
    var next = table.next(from: 1)
    while let index = next {
      release(table[index])
      next = table.next(from: index + 1)
    }
  }

  /// The size in bytes. Takes no lock.
  public var size: Int64 { isExposed ? exposedSize() : currentSize.load(ordering: .acquiring) }

  /// Whether the bytes are on disk. Takes no lock.
  public var isRolledOver: Bool { residency.load(ordering: .acquiring) != .memory }

  /// Bytes of memory that the file takes: whole chunks of 64 KiB, or the exact buffer of a small file; 0 on disk.
  public var bytesInMemory: Int64 { heldMemory.load(ordering: .relaxed) }

  /// Bytes of data on disk, in pages of 4 KiB; 0 in memory. For an exposed file, what was counted last.
  public var bytesOnDisk: Int64 { isRolledOver ? allocatedBytes : 0 }

  /// Bytes of the allocated pages of 4 KiB: `st_blocks` × 512 as tmpfs has it, wherever the file is.
  public var allocatedBytes: Int64 { pageCount.load(ordering: .relaxed) << Layout.pageShift }

  /// Fills `buffer` from `offset` on. Holes read as zeros. The corresponding C function is `pread`.
  ///
  /// - Returns: the number of bytes read, less than asked for only at the end of the file.
  /// - Throws: EINVAL for a negative offset; EIO and others from the disk.
  /// - Complexity: O(bytes), and O(log size) to find the first.
  public func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int64) throws(Errno) -> Int {
    guard offset >= 0 else { throw .invalidArgument }
    stampUse()
    while true {
      let (file, count) = stateLock.withSharedLock { () -> (SpillFile?, Int) in
        if let spill { return (spill, readableCount(buffer.count, at: offset)) }
        return (nil, readMemory(into: buffer, at: offset))
      }
      // The reference keeps the file while others truncate or replace it.
      guard let file else { return count }
      if isExposed { return try readExposed(file, into: buffer, at: offset) }
      let wanted = UnsafeMutableRawBufferPointer(rebasing: buffer[..<count])
      guard let unconfirmed = file.unconfirmed else { return try file.read(into: wanted, at: offset) }
      if let count = try readSpilled(file, unconfirmed, into: wanted, at: offset) { return count }
    }
  }

  /// Bytes from `offset` to the end of the file, `count` at most.
  @inline(__always)
  private func readableCount(_ count: Int, at offset: Int64) -> Int {
    Int(min(Int64(count), max(0, currentSize.load(ordering: .relaxed) - offset)))
  }

  /// Preconditions: in memory, `stateLock` held or nobody else has the file, `offset` is not negative.
  @inline(__always)
  func readMemory(into buffer: UnsafeMutableRawBufferPointer, at offset: Int64) -> Int {
    let count = readableCount(buffer.count, at: offset)
    if count > 0 { copyOut(to: buffer.baseAddress!, from: offset, count: count) }
    return count
  }

  /// Preconditions: as `readMemory`, and the bytes lie within the file.
  @inline(__always)
  private func copyOut(to target: UnsafeMutableRawPointer, from offset: Int64, count: Int) {
    if offset <= Layout.chunk &- count, table.headHolds(Int(offset), Int(offset) &+ count) {
      memcpy(target, table[0].memory! + Int(offset), count)
    } else {
      copyOutSlices(to: target, from: offset, count: count)
    }
  }

  @inline(never)
  private func copyOutSlices(to base: UnsafeMutableRawPointer, from offset: Int64, count: Int) {
    for slice in ChunkSlices(offset: offset, count: count) {
      let chunk = table[slice.chunk]
      let touched = PageSet(touchedBy: slice.bytes)
      if touched.subtracting(chunk.written).isEmpty, let memory = chunk.memory, chunk.capacity >= slice.bytes.upperBound
      {
        memcpy(base + slice.position, memory + slice.bytes.lowerBound, slice.bytes.count)
      } else {
        memset(base + slice.position, 0, slice.bytes.count)
        copyWrittenPages(of: chunk, slice.bytes, to: base + slice.position)
      }
    }
  }

  private func copyWrittenPages(of chunk: Chunk, _ bytes: Range<Int>, to target: UnsafeMutableRawPointer) {
    guard let memory = chunk.memory else { return }
    chunk.forEachWrittenRun { run in
      let part = run.clamped(to: bytes)
      if !part.isEmpty {
        memcpy(target + (part.lowerBound - bytes.lowerBound), memory + part.lowerBound, part.count)
      }
    }
  }

  /// Keeps the time of the last use, but writes only when it changed: readers of one file would fight over the line.
  @inline(__always)
  func stampUse() {
    let now = store.counters.clock.load(ordering: .relaxed)
    if lastUse.load(ordering: .relaxed) != now { lastUse.store(now, ordering: .relaxed) }
  }

  /// Gives a chunk's memory back; the budget is the caller's business.
  @inline(__always)
  func release(_ chunk: Chunk) {
    guard let memory = chunk.memory else { return }
    if chunk.capacity == Layout.chunk {
      store.pool.deallocate(memory)
      store.spiller.requestTrimming()
    } else {
      store.spareBuffers.keepOrFree(memory, chunk.capacity)
      // What two threads free at the same time may count once: it is a hint.
      let before = store.freedBuffers.value
      let freed = before &+ Int64(chunk.capacity)
      store.freedBuffers.set(freed)
      if freed / Spiller.bufferSurplus != before / Spiller.bufferSurplus { store.spiller.requestTrimming() }
    }
  }

  /// The pages of a file on disk are gone from there.
  func didLeaveDisk(pages: Int64) {
    store.disk.release(pages)
    store.counters.spilledFiles.subtract(1, ordering: .relaxed)
    store.spiller.spaceWasFreed()
  }
}

extension Chunk {
  /// Calls `body` with each unbroken range of bytes in memory that holds data.
  @inline(__always)
  func forEachWrittenRun<Failure: Error>(_ body: (Range<Int>) throws(Failure) -> Void) throws(Failure) {
    var page = 0
    while page < Layout.pagesPerChunk, let run = written.run(from: page) {
      let start = run.lowerBound * Layout.page
      try body(start..<max(start, min(run.upperBound * Layout.page, capacity)))
      page = run.upperBound
    }
  }
}
