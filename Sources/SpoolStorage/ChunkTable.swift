// The map of one file: which pages exist, and where their bytes are while they are in memory.

/// One chunk (64 KiB) of a file.
struct Chunk {
  /// The chunk's bytes, nil for a hole and while the file is on disk. Bytes past `capacity` read as zeros.
  var memory: UnsafeMutableRawPointer?
  /// Bytes at `memory`: a whole chunk, or less for the first chunk of a small file.
  var capacity = 0
  /// The pages that count as allocated.
  var allocated = PageSet()
  /// Those of them that hold data. The others read as zeros, whatever is in memory: fallocate(2) makes them.
  var written = PageSet()

  var isEmpty: Bool { memory == nil && allocated.isEmpty }
}

/// A sparse table of chunks. It owns no chunk's memory.
///
/// The first chunk is inline, so that a small file needs nothing else; the others are the leaves of a radix tree.
/// A radix tree rather than a sorted array: insertion in any order is O(depth) (the depth is 1 to 8: 4 MiB, 256 MiB,
/// 16 GiB, … of file), where an array would move its tail for every region that a sparse writer opens.
struct ChunkTable: ~Copyable {
  private var headMemory: UnsafeMutableRawPointer?
  private var headCapacity: UInt32 = 0
  private var headAllocated = PageSet()
  private var headWritten = PageSet()
  private var tree = ChunkTree()

  /// The chunk with this number; an empty one where there is none.
  ///
  /// - Complexity: O(depth).
  subscript(index: Int64) -> Chunk {
    @inline(__always)
    get {
      if index == 0 {
        return Chunk(
          memory: headMemory, capacity: Int(headCapacity), allocated: headAllocated, written: headWritten)
      }
      return PackedChunk(bits: tree[index]).chunk
    }
    @inline(__always)
    set {
      if index == 0 {
        headMemory = newValue.memory
        headCapacity = UInt32(truncatingIfNeeded: newValue.capacity)
        headAllocated = newValue.allocated
        headWritten = newValue.written
      } else {
        tree[index] = PackedChunk(newValue).bits
      }
    }
  }

  /// Whether the first chunk has memory for these bytes of it, on pages that hold data all of them.
  ///
  /// Precondition: there is such a byte.
  @inline(__always)
  func headHolds(_ start: Int, _ end: Int) -> Bool {
    end <= headCapacity && PageSet(from: start, to: end).subtracting(headWritten).isEmpty
  }

  /// Whether the first chunk has neither memory nor pages.
  @inline(__always)
  var headIsEmpty: Bool { headMemory == nil && headAllocated.isEmpty }

  /// Whether there is nothing but the first chunk.
  var isSmall: Bool { tree.isEmpty }

  /// The first chunk at or after `index` that is not empty.
  ///
  /// - Complexity: O(depth).
  func next(from index: Int64) -> Int64? {
    if index == 0, headMemory != nil || !headAllocated.isEmpty { return 0 }
    return tree.next(from: max(index, 1))
  }

  /// Calls `body` for each chunk that is not empty and holds any of `bytes`, with the bytes of the range within it.
  func forEach<Failure: Error>(
    in bytes: Range<Int64>, _ body: (Int64, Chunk, Range<Int>) throws(Failure) -> Void
  ) throws(Failure) {
    let range = Layout.chunks(of: bytes)
    var candidate = range.isEmpty ? nil : next(from: range.lowerBound)
    while let index = candidate, index < range.upperBound {
      let start = index << Layout.chunkShift
      let lower = max(bytes.lowerBound, start) - start
      let upper = min(bytes.upperBound - start, Int64(Layout.chunk))
      try body(index, self[index], Int(lower)..<Int(upper))
      candidate = index + 1 < range.upperBound ? next(from: index + 1) : nil
    }
  }

  /// The first page at or after `page` that holds data.
  func firstWrittenPage(from page: Int64) -> Int64? {
    var within = Int(page & Int64(Layout.pagesPerChunk - 1))
    var candidate = next(from: page / Int64(Layout.pagesPerChunk))
    if candidate != page / Int64(Layout.pagesPerChunk) { within = 0 }
    while let index = candidate {
      if let run = self[index].written.run(from: within) {
        return index * Int64(Layout.pagesPerChunk) + Int64(run.lowerBound)
      }
      within = 0
      candidate = next(from: index + 1)
    }
    return nil
  }

  /// The first page at or after `page` that holds no data, or `limit` if that comes first.
  ///
  /// - Complexity: O(chunks in the run of data).
  func firstHolePage(from page: Int64, before limit: Int64 = .max) -> Int64 {
    var page = page
    while page < limit {
      let within = Int(page & Int64(Layout.pagesPerChunk - 1))
      let index = page / Int64(Layout.pagesPerChunk)
      if let run = PageSet.all.subtracting(self[index].written).run(from: within) {
        return min(limit, index * Int64(Layout.pagesPerChunk) + Int64(run.lowerBound))
      }
      page = (index + 1) * Int64(Layout.pagesPerChunk)
    }
    return limit
  }
}

/// A chunk other than the first in one word: a chunk's address has 16 zero bits below and, in user space, 16 above.
private struct PackedChunk {
  var bits: UInt64

  init(bits: UInt64) { self.bits = bits }

  @inline(__always)
  init(_ chunk: Chunk) {
    let address = UInt64(UInt(bitPattern: chunk.memory))
    assert(address & 0xffff_0000_0000_ffff == 0)
    bits = address << 16 | UInt64(chunk.allocated.bits) << 16 | UInt64(chunk.written.bits)
  }

  @inline(__always)
  var chunk: Chunk {
    let memory = UnsafeMutableRawPointer(bitPattern: UInt((bits >> 32) << 16))
    return Chunk(
      memory: memory, capacity: memory == nil ? 0 : Layout.chunk,
      allocated: PageSet(bits: UInt16(truncatingIfNeeded: bits >> 16)),
      written: PageSet(bits: UInt16(truncatingIfNeeded: bits)))
  }
}
