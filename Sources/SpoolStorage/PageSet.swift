/// Sizes of the storage's map.
enum Layout {
  /// What tmpfs counts and seeks in, on every architecture: bytes per page.
  static let page = 4096
  static let pageShift: Int64 = 12
  /// Bytes per chunk, the unit of pooled memory.
  static let chunk = 65_536
  static let chunkShift: Int64 = 16
  static let pagesPerChunk = 16
  /// The start of a file lives in an exact-sized buffer up to this size, above it in a pooled chunk.
  static let largestBuffer = 32_768
  /// Bytes of a file from which on it is more than what a processor's own caches keep until it is read again.
  static let smallestUncached: Int64 = 8 << 20
  /// The largest size of a file: the last whole chunk below 2^63, so that rounding up never overflows.
  static let largestFile = Int64.max & ~Int64(chunk - 1)

  static func roundedUpToPage(_ size: Int64) -> Int64 { (size + Int64(page) - 1) & ~Int64(page - 1) }

  static func bytes(ofPage page: Int64) -> Range<Int64> { page << pageShift..<(page + 1) << pageShift }

  /// The pages that hold any of these bytes.
  static func pages(of bytes: Range<Int64>) -> Range<Int64> {
    bytes.isEmpty ? 0..<0 : (bytes.lowerBound >> pageShift)..<(((bytes.upperBound - 1) >> pageShift) + 1)
  }

  /// The chunks that hold any of these bytes.
  static func chunks(of bytes: Range<Int64>) -> Range<Int64> {
    bytes.isEmpty ? 0..<0 : (bytes.lowerBound >> chunkShift)..<(((bytes.upperBound - 1) >> chunkShift) + 1)
  }
}

/// Some of the 16 pages of a chunk.
struct PageSet: Equatable {
  var bits: UInt16 = 0

  init() {}

  init(bits: UInt16) { self.bits = bits }

  @inline(__always)
  init(pages: Range<Int>) {
    bits = UInt16(truncatingIfNeeded: (1 &<< UInt32(pages.upperBound)) &- (1 &<< UInt32(pages.lowerBound)) as UInt32)
  }

  /// The pages that hold any of these bytes of the chunk.
  @inline(__always)
  init(touchedBy bytes: Range<Int>) {
    self = bytes.isEmpty ? PageSet() : PageSet(from: bytes.lowerBound, to: bytes.upperBound)
  }

  /// The pages that hold any of the bytes of the chunk from `start` up to, but not including, `end`.
  ///
  /// Precondition: there is such a byte.
  @inline(__always)
  init(from start: Int, to end: Int) {
    let first = UInt32(truncatingIfNeeded: start &>> Layout.pageShift)
    let last = UInt32(truncatingIfNeeded: (end &- 1) &>> Layout.pageShift)
    bits = UInt16(truncatingIfNeeded: (2 &<< last) &- (1 &<< first) as UInt32)
  }

  /// The pages that lie in these bytes of the chunk from end to end.
  init(coveredBy bytes: Range<Int>) {
    let first = (bytes.lowerBound + Layout.page - 1) / Layout.page
    self.init(pages: first..<max(first, bytes.upperBound / Layout.page))
  }

  static let all = PageSet(bits: .max)

  var isEmpty: Bool { bits == 0 }
  /// One is the usual number, and the processors that everybody has do not count bits.
  @inline(__always)
  var count: Int { bits & (bits &- 1) == 0 ? (bits == 0 ? 0 : 1) : bits.nonzeroBitCount }

  @inline(__always)
  func contains(_ page: Int) -> Bool { bits & (1 &<< UInt16(truncatingIfNeeded: page)) != 0 }
  @inline(__always)
  func union(_ other: PageSet) -> PageSet { PageSet(bits: bits | other.bits) }
  @inline(__always)
  func intersection(_ other: PageSet) -> PageSet { PageSet(bits: bits & other.bits) }
  @inline(__always)
  func subtracting(_ other: PageSet) -> PageSet { PageSet(bits: bits & ~other.bits) }

  /// The first unbroken run of pages at or after `page`.
  func run(from page: Int) -> Range<Int>? {
    let rest = UInt32(bits) & (UInt32.max << UInt32(page))
    guard rest != 0 else { return nil }
    let start = rest.trailingZeroBitCount
    return start..<start + (~(rest >> UInt32(start))).trailingZeroBitCount
  }
}

/// A byte range cut at the chunks' borders.
struct ChunkSlices: Sequence, IteratorProtocol {
  struct Slice {
    /// Which chunk.
    var chunk: Int64
    /// The bytes within that chunk.
    var bytes: Range<Int>
    /// How many bytes of the whole range come before.
    var position: Int
  }

  private let start: Int64
  private let count: Int
  private var done = 0

  init(offset: Int64, count: Int) {
    start = offset
    self.count = count
  }

  @inline(__always)
  mutating func next() -> Slice? {
    guard done < count else { return nil }
    let offset = start + Int64(done)
    let first = Int(offset & Int64(Layout.chunk - 1))
    let length = Swift.min(Layout.chunk - first, count - done)
    defer { done += length }
    return Slice(chunk: offset >> Layout.chunkShift, bytes: first..<first + length, position: done)
  }
}
