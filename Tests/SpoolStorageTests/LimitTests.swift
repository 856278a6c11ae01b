import SpoolStorage
import SystemPackage
import Testing

@Suite struct LimitTests {
  @Test(arguments: [SpoolConfiguration.Threshold.unlimited, .bytes(0), .bytes(50_000)], [false, true])
  func `at the size limit nothing changes, and freed space is usable at once`(
    threshold: SpoolConfiguration.Threshold, encrypts: Bool
  ) throws {
    let store = try makeStore(threshold: threshold, limit: 25 * 4096, encrypts: encrypts)
    let file = FileContent(store: store)
    let other = FileContent(store: store)
    try other.write(pattern(5 * 4096), at: 0)
    try file.write(pattern(49_000), at: 0)
    let wasOnDisk = file.isRolledOver
    let before = store.usage
    #expect(throws: Errno.noSpace) { try file.append(pattern(20 * 4096)) }
    #expect(throws: Errno.noSpace) { try file.allocate(offset: 1 << 20, count: 20 * 4096, keepingSize: false) }
    #expect(throws: Errno.noSpace) { try file.zeroRange(offset: 4096, count: 30 * 4096, keepingSize: false) }
    #expect(store.usage == before)
    #expect(file.isRolledOver == wasOnDisk)
    #expect(file.size == 49_000)
    #expect(try file.read(60_000) == pattern(49_000))
    // What is allocated may be overwritten, and holes are free.
    try file.write(pattern(49_000, tag: 1), at: 0)
    try file.resize(to: 1 << 30)
    try file.resize(to: 49_000)
    try other.punchHole(offset: 0, count: 5 * 4096)
    try file.write(pattern(13 * 4096, tag: 2), at: 12 * 4096)
    #expect(store.usage.dataBytes == 25 * 4096)
  }

  @Test(arguments: [false, true])
  func `at the spill capacity files stay as and where they are`(encrypts: Bool) throws {
    let store = try makeStore(threshold: .bytes(100_000), capacity: 50 * 4096, encrypts: encrypts)
    let onDisk = FileContent(store: store)
    try onDisk.write(pattern(30 * 4096), at: 0)
    #expect(onDisk.isRolledOver)
    let inMemory = FileContent(store: store)
    try inMemory.write(pattern(24 * 4096), at: 0)
    let before = store.usage
    // Moving needs 24 pages, of which 20 are left; and the page written counts too.
    #expect(throws: Errno.noSpace) { try inMemory.append(pattern(4096)) }
    #expect(throws: Errno.noSpace) { try inMemory.rollOver() }
    #expect(throws: Errno.noSpace) { try onDisk.append(pattern(21 * 4096)) }
    #expect(!inMemory.isRolledOver)
    #expect(store.usage.memoryBytes == before.memoryBytes)
    #expect(store.usage.diskBytes == before.diskBytes)
    #expect(store.usage.dataBytes == before.dataBytes)
    #expect(try inMemory.read(200_000) == pattern(24 * 4096))
    #expect(try onDisk.read(200_000) == pattern(30 * 4096))
    try onDisk.resize(to: 25 * 4096)
    try inMemory.append(pattern(4096, at: 24 * 4096))
    #expect(inMemory.isRolledOver)
    #expect(store.usage.diskBytes == 50 * 4096)
    #expect(try inMemory.read(200_000) == pattern(25 * 4096))
  }

  @Test func `a move and the write that causes it fit together or not at all`() throws {
    let store = try makeStore(threshold: .bytes(40_960), capacity: 10 * 4096)
    let file = FileContent(store: store)
    try file.write(pattern(40_960), at: 0)
    #expect(throws: Errno.noSpace) { try file.append([1]) }
    #expect(!file.isRolledOver)
    #expect(try file.read(50_000) == pattern(40_960))
    try file.punchHole(offset: 0, count: 4096)
    try file.append([1])
    #expect(file.isRolledOver)
  }

  @Test func `with no spill capacity memory is all there is`() throws {
    let store = try makeStore(threshold: nil, budget: 1 << 20, capacity: 0)
    #expect(store.configuration.spillDirectory == nil)
    let file = FileContent(store: store)
    try file.write(pattern(16 * 65_536), at: 0)
    let small = FileContent(store: store)
    #expect(throws: Errno.noSpace) { try small.write([1], at: 0) }
    #expect(throws: Errno.noSpace) { try file.append([1]) }
    #expect(throws: Errno.noSpace) { try file.rollOver() }
    try expect(file, reads: pattern(16 * 65_536), asking: 2 << 20)
    try file.resize(to: 15 * 65_536)
    try small.write([1], at: 0)
    #expect(try small.read(2) == [1])
    try file.resize(to: 0)
    try small.resize(to: 0)
    expectNothingUsed(store)
  }

  @Test func `a file reports what it uses, and returns all of it`() throws {
    let store = try makeStore(threshold: .bytes(1 << 20))
    do {
      var files: [FileContent] = []
      for size in [0, 1, 4095, 4096, 4097, 32_768, 32_769, 65_536, 65_537, 1 << 20, (1 << 20) + 1, 3 << 20] {
        let file = FileContent(store: store)
        try file.write(pattern(size), at: 0)
        files.append(file)
      }
      #expect(store.usage.memoryBytes == files.reduce(0) { $0 + $1.bytesInMemory })
      #expect(store.usage.diskBytes == files.reduce(0) { $0 + $1.bytesOnDisk })
      #expect(store.usage.dataBytes == files.reduce(0) { $0 + $1.allocatedBytes })
      #expect(store.usage.spilledFiles == 2)
      #expect(files[1].bytesInMemory == 1)
      #expect(files[4].bytesInMemory == 4097)
      files.removeLast(3)
      #expect(store.usage.spilledFiles == 0)
    }
    expectNothingUsed(store)
  }
}
