import CSpoolSystem
import Glibc
import Synchronization
import SystemPackage
import Testing

@testable import SpoolStorage

/// What the page cache of the disk holds of files that somebody above caches.
@Suite struct SpillCacheTests {
  private static let megabyte = 1 << 20
  private static let blocks = 64

  /// Kernels and filesystems with RWF_DONTCACHE, and those without.
  @Test(arguments: [true, false])
  func `a stream leaves the page cache when it is on disk`(writesUncached: Bool) throws {
    let store = try makeStore(threshold: .bytes(0))
    guard !store.spillDirectoryIsMemoryBacked else { return }
    store.setCachedAbove(true)
    let file = FileContent(store: store)
    try file.rollOver()
    let spill = try #require(file.spill)
    spill.writesUncached.store(writesUncached, ordering: .relaxed)
    for block in 0..<Self.blocks { try writeBlock(block, of: file) }
    // By hand the last windows stay.
    #expect(eventually { cachedBytes(of: spill.file) <= 18 * Self.megabyte })
    // What is still being written when it is read stays, and is read from memory.
    try file.synchronize()
    for block in 0..<Self.blocks { try expectBlock(block, of: file) }
    #expect(cachedBytes(of: spill.file) <= 10 * Self.megabyte)
  }

  /// A megabyte is what a READ asks for, 128 KiB where only root may have more read ahead.
  @Test(arguments: [128 << 10, 1 << 20])
  func `a stream is read from disk once, and leaves the page cache as it is read`(piece: Int) throws {
    let store = try makeStore(threshold: .bytes(0))
    guard !store.spillDirectoryIsMemoryBacked else { return }
    store.setCachedAbove(true)
    let file = FileContent(store: store)
    for block in 0..<Self.blocks { try writeBlock(block, of: file) }
    let spill = try #require(file.spill)
    try file.synchronize()
    try #require(
      eventually {
        posix_fadvise(spill.file, 0, 0, POSIX_FADV_DONTNEED)
        return cachedBytes(of: spill.file) == 0
      })

    let before = bytesReadFromDisk()
    for offset in stride(from: 0, to: Self.blocks * Self.megabyte, by: piece) {
      try expect(file, reads: pattern(piece, at: Int64(offset)), at: Int64(offset))
    }
    #expect(cachedBytes(of: spill.file) <= 10 * Self.megabyte)
    // Not every kernel counts, nor every filesystem as what this thread has read.
    guard let before, let after = bytesReadFromDisk() else { return }
    #expect(after - before <= (Self.blocks + 2) * Self.megabyte)
  }

  @Test(arguments: [false, true])
  func `a file that moves to disk leaves the page cache, and reads as before`(encrypts: Bool) throws {
    let store = try makeStore(encrypts: encrypts)
    guard !store.spillDirectoryIsMemoryBacked else { return }
    store.setCachedAbove(true)
    let file = FileContent(store: store)
    for block in 0..<Self.blocks { try writeBlock(block, of: file) }
    // Holes, and pieces that are not whole pages, between what is gathered.
    try file.punchHole(offset: 100_000, count: 2_000_000)
    try file.write([1, 2, 3], at: 1_000_001)
    try file.rollOver()
    let spill = try #require(file.spill)
    if spill.writesUncached.load(ordering: .relaxed) {
      #expect(eventually { cachedBytes(of: spill.file) <= 18 * Self.megabyte })
    }
    #expect(try file.read(9, at: 1_000_000) == [0, 1, 2, 3, 0, 0, 0, 0, 0])
    try expect(file, reads: Array(pattern(Self.megabyte)[..<100_000]) + [UInt8](repeating: 0, count: 10))
    for block in 3..<Self.blocks { try expectBlock(block, of: file) }
  }

  @Test func `what nobody else caches stays in the page cache`() throws {
    let store = try makeStore(threshold: .bytes(0))
    guard !store.spillDirectoryIsMemoryBacked else { return }
    let file = FileContent(store: store)
    for block in 0..<8 { try writeBlock(block, of: file) }
    let spill = try #require(file.spill)
    #expect(cachedBytes(of: spill.file) == 8 * Self.megabyte)
    store.setCachedAbove(true)
    let second = FileContent(store: store)
    // In small pieces: the page cache gathers them.
    for index in 0..<1024 { try second.append(pattern(1024, at: Int64(index) * 1024)) }
    #expect(cachedBytes(of: try #require(second.spill).file) == Self.megabyte)
    try expectBlock(0, of: second)
  }

  private func writeBlock(_ block: Int, of file: FileContent) throws {
    let offset = Int64(block * Self.megabyte)
    try file.write(pattern(Self.megabyte, at: offset), at: offset)
  }

  private func expectBlock(_ block: Int, of file: FileContent) throws {
    let offset = Int64(block * Self.megabyte)
    try expect(file, reads: pattern(Self.megabyte, at: offset), at: offset)
  }

  /// Bytes that this thread has had read from disks, as /proc/thread-self/io tells.
  private func bytesReadFromDisk() -> Int? {
    let lines = contentsOfSystemFile("/proc/thread-self/io")?.split(separator: "\n") ?? []
    return lines.first { $0.hasPrefix("read_bytes: ") }.flatMap { Int($0.dropFirst("read_bytes: ".count)) }
  }

  /// Bytes of the file that are in the page cache.
  private func cachedBytes(of file: Int32) -> Int {
    var status = stat()
    fstat(file, &status)
    let size = Int(status.st_size)
    guard size > 0, let memory = mmap(nil, size, PROT_READ, MAP_SHARED, file, 0), memory != MAP_FAILED else { return 0 }
    defer { munmap(memory, size) }
    let page = Int(getpagesize())
    var states = [UInt8](repeating: 0, count: (size + page - 1) / page)
    mincore(memory, size, &states)
    return states.reduce(0) { $0 + Int($1 & 1) } * page
  }
}
