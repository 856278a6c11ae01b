internal import Glibc
internal import Synchronization
internal import SystemPackage

/// Copies of what was written to a spill file, until the disk has confirmed that it has them.
///
/// A disk may take what is written and fail only when the kernel brings it there: a full thin volume, a broken disk, a server.
/// The kernel then drops the pages, and what is read there is zeros. So these pages are read from here, never from the disk.
///
/// Bytes are in plain, also where the disk has them encrypted.
final class UnconfirmedWrites: @unchecked Sendable {
  // @unchecked: changed with the file's `writerLock` held; what readers look at, `copies` and `lost`, also with its
  // `stateLock` held exclusively. The atomics may be read by anybody.

  /// The chunks with copies: `allocated` are the pages that there is a copy of, `written` those of them that the disk has
  /// refused. A page that the file's map has no data in reads as zeros even if there is a copy.
  @exclusivity(unchecked) private(set) var copies = ChunkTable()
  /// Pages, as `allocated`, whose bytes are nowhere: the disk refused what was to replace them, and the writer was told.
  @exclusivity(unchecked) private(set) var lost = ChunkTable()
  /// The chunks of `copies`, the oldest first; also some that have gone since.
  @exclusivity(unchecked) private var order: [Int64] = []
  @exclusivity(unchecked) private var orderStart = 0
  /// Whether the store's thread knows the file.
  @exclusivity(unchecked) var isRegistered = false
  /// Whether it has been written to since the store's thread last looked.
  @exclusivity(unchecked) var isFresh = false
  /// Bytes written that the kernel has not been asked to bring to disk.
  @exclusivity(unchecked) var unstartedBytes = 0
  /// Whether pages without data may have something else on disk than zeros.
  @exclusivity(unchecked) var hasStaleHoles = false
  /// Where the write under way will have made the file end; 0 without one.
  @exclusivity(unchecked) var stagedEnd: Int64 = 0
  /// What the disk last refused something with.
  @exclusivity(unchecked) var refusal = Errno.ioError
  /// When refused pages were last written again, in seconds.
  @exclusivity(unchecked) var retriedAt: Int64 = -1

  /// How many times the disk refused something. Readers see from it that what they read from disk meanwhile may be nothing.
  let refusals = Atomic<Int>(0)
  /// Bytes of memory of the copies.
  let heldBytes = Atomic<Int64>(0)
  /// Bytes of them that the disk has refused.
  let refusedBytes = Atomic<Int64>(0)

  private unowned(unsafe) let store: SpoolStore

  init(store: SpoolStore) { self.store = store }

  deinit {
    forEachChunk { _, chunk in store.pool.deallocate(chunk.memory!) }
    store.unconfirmedBytes.release(heldBytes.load(ordering: .relaxed))
    store.counters.refusedBytes.subtract(refusedBytes.load(ordering: .relaxed), ordering: .relaxed)
  }

  var isEmpty: Bool { heldBytes.load(ordering: .relaxed) == 0 }
  var hasRefused: Bool { refusedBytes.load(ordering: .relaxed) != 0 }

  var hasLost: Bool { lost.next(from: 0) != nil }

  private func forEachChunk(_ body: (Int64, Chunk) -> Void) {
    var next = copies.next(from: 0)
    while let index = next {
      body(index, copies[index])
      next = copies.next(from: index + 1)
    }
  }

  // MARK: - Room

  /// Bytes of memory that copies of the range take in addition.
  func growth(over range: Range<Int64>) -> Int64 {
    Layout.chunks(of: range).reduce(0) { $0 + (copies[$1].memory == nil ? Int64(Layout.chunk) : 0) }
  }

  /// Memory for the chunk's copies; room has been reserved if it has none. nil where the system has no memory.
  ///
  /// Preconditions: both locks held.
  func makeChunk(_ index: Int64) -> Bool {
    if copies[index].memory != nil { return true }
    guard let memory = store.pool.allocate() else { return false }
    copies[index] = Chunk(memory: memory, capacity: Layout.chunk)
    heldBytes.add(Int64(Layout.chunk), ordering: .relaxed)
    order.append(index)
    if order.count > 64, order.count - orderStart > 2 * Int(heldBytes.load(ordering: .relaxed) >> Layout.chunkShift) {
      forgetGone()
    }
    return true
  }

  private func forgetGone() {
    var seen: Set<Int64> = []
    order = order[orderStart...].filter { copies[$0].memory != nil && seen.insert($0).inserted }
    orderStart = 0
  }

  // MARK: - Changes. Preconditions: both locks held.

  /// Makes pages of the chunk count as copied. They are on their way to the disk once more.
  func add(_ pages: PageSet, of index: Int64) {
    var chunk = copies[index]
    chunk.allocated = chunk.allocated.union(pages)
    set(chunk, at: index)
    removeLost(pages, of: index)
  }

  /// Makes pages count as refused that there are copies of.
  func refuse(_ pages: PageSet, of index: Int64) {
    var chunk = copies[index]
    chunk.written = chunk.written.union(pages.intersection(chunk.allocated))
    set(chunk, at: index)
  }

  /// Makes all of them count as refused.
  func refuseAll(_ error: Errno) {
    forEachChunk { index, chunk in refuse(chunk.allocated, of: index) }
    refusal = error
    refusals.add(1, ordering: .releasing)
  }

  /// Pages that were refused have been written again.
  func retry(_ pages: PageSet, of index: Int64) {
    var chunk = copies[index]
    chunk.written = chunk.written.subtracting(pages)
    set(chunk, at: index)
  }

  func drop(_ pages: PageSet, of index: Int64) {
    var chunk = copies[index]
    if chunk.memory != nil {
      chunk.allocated = chunk.allocated.subtracting(pages)
      chunk.written = chunk.written.subtracting(pages)
      set(chunk, at: index)
    }
    removeLost(pages, of: index)
  }

  /// Drops the pages that lie in the range from end to end.
  func drop(_ range: Range<Int64>) {
    var index = range.lowerBound >> Layout.chunkShift
    while let next = [copies.next(from: index), lost.next(from: index)].compactMap({ $0 }).min(),
      next << Layout.chunkShift < range.upperBound
    {
      let start = next << Layout.chunkShift
      let bytes = Int(max(range.lowerBound, start) - start)..<Int(min(range.upperBound - start, Int64(Layout.chunk)))
      drop(PageSet(coveredBy: bytes), of: next)
      index = next + 1
    }
  }

  /// The bytes of pages are nowhere.
  func lose(_ pages: PageSet, of index: Int64) {
    let pages = pages.subtracting(copies[index].allocated)
    guard !pages.isEmpty else { return }
    var chunk = lost[index]
    chunk.allocated = chunk.allocated.union(pages)
    lost[index] = chunk
  }

  private func removeLost(_ pages: PageSet, of index: Int64) {
    var chunk = lost[index]
    if chunk.allocated.intersection(pages).isEmpty { return }
    chunk.allocated = chunk.allocated.subtracting(pages)
    lost[index] = chunk
  }

  /// Gives memory back that holds nothing any more.
  private func set(_ chunk: Chunk, at index: Int64) {
    var chunk = chunk
    let refused = Int64((chunk.written.count - copies[index].written.count) << Layout.pageShift)
    if refused != 0 {
      refusedBytes.add(refused, ordering: .relaxed)
      store.counters.refusedBytes.add(refused, ordering: .relaxed)
    }
    if chunk.allocated.isEmpty, let memory = chunk.memory {
      store.pool.deallocate(memory)
      chunk = Chunk()
      heldBytes.subtract(Int64(Layout.chunk), ordering: .relaxed)
      store.unconfirmedBytes.release(Int64(Layout.chunk))
    }
    copies[index] = chunk
  }

  // MARK: - Order

  /// The chunks that were written first, as many as hold `bytes`; all if nil. Chunks with refused pages are left out.
  func oldest(_ bytes: Int64?) -> [Int64] {
    var chunks: [Int64] = []
    var left = bytes.map { Int(($0 + Int64(Layout.chunk) - 1) >> Layout.chunkShift) } ?? .max
    var position = orderStart
    while position < order.count, left > 0 {
      let chunk = copies[order[position]]
      if chunk.memory != nil {
        left -= 1
        if chunk.written.isEmpty { chunks.append(order[position]) }
      }
      position += 1
    }
    return chunks
  }

  /// The chunks with refused pages.
  var refusedChunks: [Int64] {
    var chunks: [Int64] = []
    forEachChunk { index, chunk in if !chunk.written.isEmpty { chunks.append(index) } }
    return chunks
  }

  /// The bytes of the file that its refused pages of a chunk are.
  func refusedRuns(of index: Int64) -> [Range<Int64>] {
    let pages = copies[index].written
    let start = index << Layout.chunkShift
    var runs: [Range<Int64>] = []
    var page = 0
    while page < Layout.pagesPerChunk, let run = pages.run(from: page) {
      runs.append(start + Int64(run.lowerBound * Layout.page)..<start + Int64(run.upperBound * Layout.page))
      page = run.upperBound
    }
    return runs
  }

  /// The disk has these chunks.
  func dropConfirmed(_ chunks: [Int64]) {
    for index in chunks { drop(copies[index].allocated, of: index) }
    while orderStart < order.count, copies[order[orderStart]].memory == nil { orderStart += 1 }
    if orderStart == order.count || orderStart > 1024 {
      order.removeFirst(orderStart)
      orderStart = 0
    }
  }
}
