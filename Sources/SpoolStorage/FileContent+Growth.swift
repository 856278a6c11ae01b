internal import Glibc
internal import Synchronization
internal import SystemPackage

/// What an operation needs before it can run in memory.
struct Growth {
  /// Pages that are not allocated yet.
  var pages: Int64 = 0
  /// Bytes of memory, if the file is in memory.
  var memory: Int64 = 0
  /// What the first chunk's memory has to grow to.
  var headCapacity = 0
}

extension FileContent {
  /// What allocating the range takes. Preconditions: `writerLock` held.
  ///
  /// - Complexity: O(chunks that are already there in the range).
  func growth(over range: Range<Int64>) -> Growth {
    var growth = Growth()
    let pages = Layout.pages(of: range)
    let chunks = Layout.chunks(of: range)
    growth.pages = Int64(pages.count)
    var missingChunks = Int64(chunks.count)
    table.forEach(in: range) { (index, chunk, bytes) in
      growth.pages -= Int64(PageSet(touchedBy: bytes).intersection(chunk.allocated).count)
      if index > 0, chunk.memory != nil { missingChunks -= 1 }
    }
    guard spill == nil, !chunks.isEmpty else { return growth }
    if chunks.lowerBound == 0 {
      missingChunks -= 1
      let capacity = table[0].capacity
      growth.headCapacity = Self.headCapacity(for: Int(min(range.upperBound, Int64(Layout.chunk))), now: capacity)
      growth.memory = Int64(growth.headCapacity - capacity)
    }
    growth.memory += missingChunks << Layout.chunkShift
    return growth
  }

  /// Exact for the first write, at least doubling after that, so that appending stays linear.
  @inline(__always)
  static func headCapacity(for end: Int, now: Int) -> Int {
    if end <= now { return now }
    if end > Layout.largestBuffer { return Layout.chunk }
    return now == 0 ? end : max(end, min(2 * now, Layout.largestBuffer))
  }

  /// Provides memory for every chunk of the range. Returns the bytes taken, less than reserved if the system has no
  /// more.
  ///
  /// Preconditions: `writerLock` held, `stateLock` held exclusively, memory reserved.
  func populate(_ range: Range<Int64>, _ growth: Growth) -> (bytes: Int64, isComplete: Bool) {
    var taken: Int64 = 0
    for index in Layout.chunks(of: range) {
      var chunk = table[index]
      let capacity = index == 0 ? growth.headCapacity : Layout.chunk
      if chunk.capacity >= capacity { continue }
      guard let memory = grownMemory(of: chunk, to: capacity) else {
        return (taken - removeEmptyChunks(in: range), false)
      }
      taken += Int64(capacity - chunk.capacity)
      chunk.memory = memory
      chunk.capacity = capacity
      table[index] = chunk
    }
    return (taken, true)
  }

  /// Memory of that capacity with the chunk's bytes in it, and zeros up to the end of the page that they end in, but for
  /// `bytes`, which the caller overwrites.
  @inline(__always)
  func grownMemory(
    of chunk: Chunk, to capacity: Int, sparing bytes: Range<Int> = 0..<0
  ) -> UnsafeMutableRawPointer? {
    // The buffer of a new file: there are no bytes to keep, and no page that they end in.
    if chunk.memory == nil, capacity < Layout.chunk {
      return store.spareBuffers.take(capacity) ?? malloc(capacity)
    }
    return otherMemory(of: chunk, to: capacity, sparing: bytes)
  }

  @inline(never)
  private func otherMemory(
    of chunk: Chunk, to capacity: Int, sparing bytes: Range<Int>
  ) -> UnsafeMutableRawPointer? {
    let memory: UnsafeMutableRawPointer
    if capacity == Layout.chunk {
      guard let pooled = store.pool.allocate() else { return nil }
      if let old = chunk.memory {
        memcpy(pooled, old, chunk.capacity)
        free(old)
      }
      memory = pooled
    } else {
      guard let buffer = realloc(chunk.memory, capacity) else { return nil }
      memory = buffer
    }
    // The page may be one that holds data, whose bytes past the old capacity read as zeros until now.
    let pageEnd = (chunk.capacity + Layout.page - 1) / Layout.page * Layout.page
    let gap = chunk.capacity..<max(chunk.capacity, min(pageEnd, capacity))
    let spared = bytes.clamped(to: gap)
    zero(memory, gap.lowerBound..<spared.lowerBound)
    zero(memory, spared.upperBound..<gap.upperBound)
    return memory
  }

  @inline(__always)
  func zero(_ memory: UnsafeMutableRawPointer, _ bytes: Range<Int>) {
    if !bytes.isEmpty { memset(memory + bytes.lowerBound, 0, bytes.count) }
  }

  /// Takes back what `populate` did before it failed. Returns the bytes freed.
  private func removeEmptyChunks(in range: Range<Int64>) -> Int64 {
    var freed: Int64 = 0
    let chunks = Layout.chunks(of: range)
    var next = table.next(from: chunks.lowerBound)
    while let index = next, index < chunks.upperBound {
      let chunk = table[index]
      if chunk.memory != nil, chunk.allocated.isEmpty {
        release(chunk)
        freed += Int64(chunk.capacity)
        table[index] = Chunk()
      }
      next = table.next(from: index + 1)
    }
    return freed
  }
}
