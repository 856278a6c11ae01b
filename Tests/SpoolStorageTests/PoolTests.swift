import CSpoolSystem
import Glibc
import TestSupport
import Testing

@testable import SpoolStorage

@Suite struct PoolTests {
  @Test func `chunks are apart, aligned, and from whole slabs in turn`() {
    let pool = ChunkPool()
    let chunks = (0..<100).map { _ in pool.allocate()! }
    #expect(Set(chunks).count == 100)
    #expect(chunks.allSatisfy { UInt(bitPattern: $0) % 65_536 == 0 })
    #expect(Set(chunks.map { UInt(bitPattern: $0) >> 21 }).count == 4)
    #expect(zip(chunks, chunks.dropFirst()).prefix(31).allSatisfy { $1 - $0 == 65_536 })
    #expect(pool.mappedBytes == 4 * Int64(ChunkPool.slabSize))
    for chunk in chunks { pool.deallocate(chunk) }
    #expect(pool.idleBytes == 100 * 65_536)
  }

  @Test func `memory is recycled before more is taken`() {
    let pool = ChunkPool()
    var random = SeededGenerator(seed: 7)
    var held: [UnsafeMutableRawPointer] = []
    for _ in 0..<20_000 {
      if held.count < 200, Bool.random(using: &random) {
        held.append(pool.allocate()!)
      } else if !held.isEmpty {
        held.swapAt(Int.random(in: 0..<held.count, using: &random), held.count - 1)
        pool.deallocate(held.removeLast())
      }
    }
    #expect(pool.mappedBytes <= 7 * Int64(ChunkPool.slabSize))
    for chunk in held { pool.deallocate(chunk) }
  }

  @Test func `idle memory goes back to the system, used memory stays`() {
    let pool = ChunkPool()
    let chunks = (0..<64).map { _ in pool.allocate()! }
    for chunk in chunks { memset(chunk, 7, 65_536) }
    for chunk in chunks.dropFirst(5) { pool.deallocate(chunk) }
    // The first look arms, the second finds the wholly unused slab, the third the rest.
    while pool.trim() {}
    #expect(pool.mappedBytes == Int64(ChunkPool.slabSize))
    #expect(pool.idleBytes == 0)
    #expect(chunks.prefix(5).allSatisfy { memcmp($0, $0 + 1, 65_535) == 0 && $0.load(as: UInt8.self) == 7 })
    for chunk in chunks.prefix(5) { pool.deallocate(chunk) }
    while pool.trim() {}
    #expect(pool.mappedBytes == 0)
    let again = pool.allocate()!
    memset(again, 1, 65_536)
    pool.deallocate(again)
  }

  @Test func `a writer that goes on finds memory ready, up to a limit, and what it leaves goes back`() {
    let pool = ChunkPool(stockLimit: 7 * Int64(ChunkPool.slabSize))
    var chunks = [pool.allocate()!]
    #expect(!pool.isRunningLow)
    while chunks.count < 65 { chunks.append(pool.allocate()!) }
    #expect(pool.isRunningLow)
    pool.stockUp()
    #expect(!pool.isRunningLow)
    #expect(pool.mappedBytes == 6 * Int64(ChunkPool.slabSize))
    #expect(pool.idleBytes == 3 * Int64(ChunkPool.slabSize))
    while chunks.count < 6 * 32 { chunks.append(pool.allocate()!) }
    #expect(pool.mappedBytes == 6 * Int64(ChunkPool.slabSize))
    #expect(pool.idleBytes == 0)
    #expect(pool.isRunningLow)
    pool.stockUp()
    #expect(pool.mappedBytes == 7 * Int64(ChunkPool.slabSize))
    #expect(Set(chunks).count == chunks.count)
    for chunk in chunks {
      memset(chunk, 7, 65_536)
      pool.deallocate(chunk)
    }
    while pool.trim() {}
    #expect(pool.mappedBytes == 0)
    #expect(pool.idleBytes == 0)
  }

  @Test func `much idle memory is lent to the kernel and goes back in halves`() {
    let pool = ChunkPool()
    let chunks = (0..<100 * 32).map { _ in pool.allocate()! }
    for chunk in chunks {
      memset(chunk, 7, 65_536)
      pool.deallocate(chunk)
    }
    var steps: [Int64] = []
    while pool.trim() {
      let count = pool.mappedBytes / Int64(ChunkPool.slabSize)
      if steps.last != count { steps.append(count) }
    }
    #expect(steps == [100, 50, 25, 13])
    #expect(pool.mappedBytes == 0)
    #expect(pool.idleBytes == 0)
  }

  @Test func `lent memory is used again before more is taken`() {
    let pool = ChunkPool()
    var chunks = (0..<40 * 32).map { _ in pool.allocate()! }
    for chunk in chunks { pool.deallocate(chunk) }
    // Arms, and lends.
    for _ in 0..<2 { #expect(pool.trim()) }
    chunks = chunks.map { _ in
      let chunk = pool.allocate()!
      memset(chunk, 9, 65_536)
      return chunk
    }
    #expect(pool.mappedBytes == 40 * Int64(ChunkPool.slabSize))
    for _ in 0..<20 { #expect(!pool.trim()) }
    #expect(chunks.allSatisfy { memcmp($0, $0 + 1, 65_535) == 0 && $0.load(as: UInt8.self) == 9 })
    for chunk in chunks { pool.deallocate(chunk) }
    while pool.trim() {}
    #expect(pool.mappedBytes == 0)
  }

  @Test func `a store that is idle gives its memory back by itself`() throws {
    let store = try makeStore()
    do {
      let file = FileContent(store: store)
      try file.write(pattern(8 << 20), at: 0)
      #expect(store.usage.poolBytes >= 8 << 20)
    }
    #expect(eventually { store.usage.poolBytes == 0 && store.usage.idlePoolBytes == 0 })
  }
}

@Suite struct ChunkTreeTests {
  @Test func `the tree holds what a dictionary holds`() {
    let seed = SeededGenerator.testSeed()
    var random = SeededGenerator(seed: seed)
    for bits in [4, 7, 13, 30, 47] {
      var tree = ChunkTree()
      var model: [Int64: UInt64] = [:]
      for step in 0..<3000 {
        let index = Int64(random.next() >> UInt64(64 - Int.random(in: 1...bits, using: &random)))
        let value = Bool.random(using: &random) ? 0 : random.next()
        tree[index] = value
        model[index] = value == 0 ? nil : value
        let probe = Int64(random.next() >> UInt64(64 - bits))
        if tree[probe] != model[probe] ?? 0 || tree[index] != value {
          Issue.record("SPOOLFS_SEED=\(seed) bits \(bits) step \(step)")
          return
        }
      }
      var found: [Int64] = []
      var next = tree.next(from: 0)
      while let index = next {
        found.append(index)
        next = tree.next(from: index + 1)
      }
      #expect(found == model.keys.sorted(), "SPOOLFS_SEED=\(seed)")
      for index in found { tree[index] = 0 }
      #expect(tree.next(from: 0) == nil)
    }
  }
}
