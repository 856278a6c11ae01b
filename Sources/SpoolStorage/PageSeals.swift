internal import Glibc
internal import Synchronization

/// What opens one encrypted page, and how much of it counts. 24 bytes: they stay in memory, so that the spill file keeps
/// its offsets and holes, and an old state of it is worth nothing.
struct Seal {
  private static let lengthBits: UInt64 = 13
  private static let lengthMask: UInt64 = 1 << lengthBits - 1
  /// 2^51 pages are 8 EiB.
  static let largestNonce = UInt64.max >> lengthBits
  /// Bytes.
  static let tagSize = 16

  /// The nonce above, the length below; 0 is no seal: the page reads as zeros.
  private let word: UInt64
  let tag: (UInt64, UInt64)

  private init(word: UInt64, tag: (UInt64, UInt64)) {
    self.word = word
    self.tag = tag
  }

  init() { self.init(word: 0, tag: (0, 0)) }

  /// Of a whole page.
  init(nonce: UInt64, tag: (UInt64, UInt64)) {
    self.init(word: nonce << Self.lengthBits | UInt64(Layout.page), tag: tag)
  }

  var isEmpty: Bool { word == 0 }
  var nonce: UInt64 { word >> Self.lengthBits }

  /// The bytes of the page from here on read as zeros, whatever was encrypted. This cuts a page without writing it.
  var length: Int {
    get { Int(word & Self.lengthMask) }
    set { self = newValue == 0 ? Seal() : Seal(word: word & ~Self.lengthMask | UInt64(newValue), tag: tag) }
  }
}

/// The seals and the size of one encrypted spill file.
///
/// Bytes on disk and seals must fit together. Whoever changes a page holds `diskLock` exclusively while they do not.
/// Readers do not take it: what they read while it was changed does not open, and only then they come back with the lock.
final class PageSeals: @unchecked Sendable {  // `blocks` and `size` are protected by `tableLock`
  let key: SpillKey
  let file: UInt64
  /// Taken before `tableLock`.
  let diskLock = SharedLock()
  private let tableLock = SharedLock()
  /// The addresses of blocks of 16 seals, by chunk.
  private var blocks = ChunkTree()
  private var size: Int64 = 0

  private typealias Block = UnsafeMutablePointer<Seal>
  private static let blockSize = Layout.pagesPerChunk * MemoryLayout<Seal>.stride

  init(key: SpillKey) {
    self.key = key
    file = key.nextFileNumber()
  }

  deinit { removeAll(of: 0..<Layout.largestFile >> Layout.pageShift) }

  /// Copies the seals of pages. Returns the size of the file at that moment.
  func copy(_ pages: Range<Int64>, to target: UnsafeMutablePointer<Seal>) -> Int64 {
    tableLock.withSharedLock {
      Self.forEachBlock(of: pages) { chunk, positions, done in
        if let block = block(chunk) {
          (target + done).update(from: block + positions.lowerBound, count: positions.count)
        } else {
          (target + done).update(repeating: Seal(), count: positions.count)
        }
      }
      return size
    }
  }

  /// Calls `body` for the pages of each chunk: with the chunk, the pages' places in it, and how many pages come before.
  @inline(__always)
  private static func forEachBlock(of pages: Range<Int64>, _ body: (Int64, Range<Int>, Int) -> Void) {
    let perBlock = Int64(Layout.pagesPerChunk)
    var page = pages.lowerBound
    while page < pages.upperBound {
      let chunk = page / perBlock
      let end = min(pages.upperBound, (chunk + 1) * perBlock)
      body(chunk, Int(page - chunk * perBlock)..<Int(end - chunk * perBlock), Int(page - pages.lowerBound))
      page = end
    }
  }

  /// Sets the seals of pages; the file then reaches at least to `end`.
  ///
  /// Preconditions: `diskLock` held exclusively.
  func set(_ pages: Range<Int64>, to seals: UnsafePointer<Seal>, end: Int64) {
    guard !pages.isEmpty else { return }
    tableLock.withExclusiveLock {
      Self.forEachBlock(of: pages) { chunk, positions, done in
        let block = block(chunk) ?? makeBlock(chunk)
        (block + positions.lowerBound).update(from: seals + done, count: positions.count)
      }
      size = max(size, end)
    }
  }

  /// The bytes of the page that are not zero by definition.
  func length(ofPage page: Int64) -> Int {
    var seal = Seal()
    _ = copy(page..<page + 1, to: &seal)
    return seal.length
  }

  /// Makes the pages read as zeros.
  ///
  /// Preconditions: `diskLock` held exclusively.
  func remove(_ pages: Range<Int64>) {
    tableLock.withExclusiveLock { removeAll(of: pages) }
  }

  /// Makes a page read as zeros from its byte `length` on. No seal is ever made longer.
  func cut(_ page: Int64, to length: Int) {
    tableLock.withExclusiveLock { cutLocked(page, to: length) }
  }

  /// Preconditions: `diskLock` held exclusively.
  func resize(to newSize: Int64) {
    tableLock.withExclusiveLock {
      if newSize < size {
        cutLocked(newSize >> Layout.pageShift, to: Int(newSize & Int64(Layout.page - 1)))
        removeAll(of: Layout.roundedUpToPage(newSize) >> Layout.pageShift..<Layout.largestFile >> Layout.pageShift)
      }
      size = newSize
    }
  }

  private func cutLocked(_ page: Int64, to length: Int) {
    guard let block = block(page / Int64(Layout.pagesPerChunk)) else { return }
    let position = Int(page % Int64(Layout.pagesPerChunk))
    if block[position].length > length { block[position].length = length }
  }

  private func removeAll(of pages: Range<Int64>) {
    guard !pages.isEmpty else { return }
    let perBlock = Int64(Layout.pagesPerChunk)
    var next = blocks.next(from: pages.lowerBound / perBlock)
    while let chunk = next, chunk * perBlock < pages.upperBound {
      next = blocks.next(from: chunk + 1)
      guard let block = block(chunk) else { continue }
      let start = chunk * perBlock
      let lower = Int(max(pages.lowerBound, start) - start)
      let upper = Int(min(pages.upperBound - start, perBlock))
      for position in lower..<upper { block[position] = Seal() }
      if (0..<Layout.pagesPerChunk).allSatisfy({ block[$0].isEmpty }) { free(block, of: chunk) }
    }
  }

  private func block(_ chunk: Int64) -> Block? { Block(bitPattern: UInt(blocks[chunk])) }

  private func makeBlock(_ chunk: Int64) -> Block {
    let block = Block.allocate(capacity: Layout.pagesPerChunk)
    block.initialize(repeating: Seal(), count: Layout.pagesPerChunk)
    blocks[chunk] = UInt64(UInt(bitPattern: block))
    key.sealBytes.add(Int64(Self.blockSize), ordering: .relaxed)
    return block
  }

  private func free(_ block: Block, of chunk: Int64) {
    blocks[chunk] = 0
    block.deallocate()
    key.sealBytes.subtract(Int64(Self.blockSize), ordering: .relaxed)
  }
}

/// Memory for what is encrypted, and goes to disk, at a time.
struct PageScratch {
  /// Bytes: several chunks, because each write(2) to a file that its writer does not keep in the page cache starts the disk.
  private static let capacity = 16 * Layout.chunk
  private static let sealCount = capacity / Layout.page
  private static let byteCount = capacity + Layout.page + sealCount * MemoryLayout<Seal>.stride

  /// The bytes from `start` on that one scratch memory takes, at most to `end`: whole pages lie in whole scratch memory.
  static func range(from start: Int64, to end: Int64) -> Range<Int64> {
    start..<min(end, (start / Int64(capacity) + 1) * Int64(capacity))
  }

  /// The encrypted pages.
  let ciphertext: UnsafeMutableRawPointer

  /// One page in plain.
  var plain: UnsafeMutableRawPointer { ciphertext + Self.capacity }

  /// Their seals.
  var seals: UnsafeMutablePointer<Seal> {
    (plain + Layout.page).assumingMemoryBound(to: Seal.self)
  }

  init() {
    ciphertext = .allocate(byteCount: Self.byteCount, alignment: Layout.page)
    (plain + Layout.page).initializeMemory(as: Seal.self, repeating: Seal(), count: Self.sealCount)
  }

  func deallocate() { ciphertext.deallocate() }
}

/// Keeps scratch memory for the next read or write.
final class PageScratchPool: @unchecked Sendable {  // `idle` is protected by `lock`
  private static let largestCount = 4

  private let lock = Lock()
  private var idle: [PageScratch] = []

  init() { idle.reserveCapacity(Self.largestCount) }

  deinit { for scratch in idle { scratch.deallocate() } }

  func take() -> PageScratch { lock.withLock { idle.popLast() } ?? PageScratch() }

  func putBack(_ scratch: PageScratch) {
    let isKept = lock.withLock {
      guard idle.count < Self.largestCount else { return false }
      idle.append(scratch)
      return true
    }
    if !isKept { scratch.deallocate() }
  }
}
