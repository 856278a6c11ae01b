import Glibc
import TestSupport
import Testing

@testable import SpoolStorage

@Suite struct SpareBuffersTests {
  @Test func `a buffer is given back for the same capacity only, and once`() {
    let spare = SpareBuffers()
    defer { spare.destroy() }
    #expect(spare.take(0) == nil && spare.take(1000) == nil)
    let buffer = malloc(1000)!
    spare.keepOrFree(buffer, 1000)
    #expect(spare.take(999) == nil)
    #expect(spare.take(1000) == buffer)
    #expect(spare.take(1000) == nil)
    free(buffer)
  }

  @Test func `some are kept, none above a page, and of many sizes the latest`() {
    let spare = SpareBuffers()
    defer { spare.destroy() }
    spare.keepOrFree(malloc(Layout.page + 1)!, Layout.page + 1)
    #expect(spare.take(Layout.page + 1) == nil)
    // One more of the same size is freed, as a sanitizer sees.
    for _ in 0...SpareBuffers.count { spare.keepOrFree(malloc(100)!, 100) }
    let kept = (0..<SpareBuffers.count).map { _ in spare.take(100) }
    #expect(!kept.contains(nil) && Set(kept).count == kept.count)
    #expect(spare.take(100) == nil)
    for buffer in kept { spare.keepOrFree(buffer!, 100) }
    // All places are taken by a size that nobody asks for any more: another gets most of them in time.
    for _ in 0..<20 {
      for buffer in (0..<100).map({ _ in malloc(4096)! }) { spare.keepOrFree(buffer, 4096) }
    }
    let others = (0..<SpareBuffers.count).compactMap { _ in spare.take(4096) }
    #expect(others.count > SpareBuffers.count / 2)
    for buffer in others { free(buffer) }
  }

  @Test func `one small file after another uses the same memory, and sees nothing of the one before`() throws {
    let store = try SpoolStore(SpoolConfiguration(spillCapacity: 0))
    var places: Set<UnsafeMutableRawPointer> = []
    for round in 0..<10 {
      let file = FileContent(store: store)
      var bytes = [UInt8](repeating: UInt8(round + 1), count: 1000)
      _ = try bytes.withUnsafeBytes { try file.write($0, at: 0) }
      if let memory = file.table[0].memory { places.insert(memory) }
      try file.resize(to: 500)
      try file.resize(to: 1000)
      let count = try bytes.withUnsafeMutableBytes { try file.read(into: $0, at: 0) }
      #expect(count == 1000)
      #expect(bytes == [UInt8](repeating: UInt8(round + 1), count: 500) + [UInt8](repeating: 0, count: 500))
    }
    #expect(places.count == 1)
    #expect(store.usage.memoryBytes == 0 && store.usage.dataBytes == 0)
  }

  @Test func `threads do not get the same buffer`() throws {
    let store = try SpoolStore(SpoolConfiguration(spillCapacity: 0))
    let complaints = Complaints()
    runThreads(4) { number in
      for round in 0..<5000 {
        let size = 1000 + round % 2
        let written = [UInt8](repeating: UInt8(number + 1), count: size)
        var read = [UInt8](repeating: 0, count: size)
        let file = FileContent(store: store)
        do {
          _ = try written.withUnsafeBytes { try file.write($0, at: 0) }
          _ = try read.withUnsafeMutableBytes { try file.read(into: $0, at: 0) }
          if read != written { complaints.add("thread \(number), file \(round): bytes of another file") }
        } catch {
          complaints.add("thread \(number), file \(round): \(error)")
        }
      }
    }
    #expect(complaints.all == [])
    #expect(store.usage.memoryBytes == 0)
  }
}
