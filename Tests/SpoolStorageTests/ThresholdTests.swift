import SpoolStorage
import SystemPackage
import Testing

@Suite struct ThresholdTests {
  @Test(arguments: [1, 100, 4096, 5000, 32_768, 32_769, 65_536, 65_537, 200_000], [false, true])
  func `a file of exactly the threshold stays in memory, one byte more moves it`(
    threshold: Int64, encrypts: Bool
  ) throws {
    let store = try makeStore(threshold: .bytes(threshold), encrypts: encrypts)
    let file = FileContent(store: store)
    let bytes = pattern(Int(threshold))
    try file.write(bytes, at: 0)
    #expect(!file.isRolledOver)
    #expect(file.bytesInMemory >= threshold)
    #expect(file.bytesOnDisk == 0)
    try file.write([7], at: threshold - 1)
    #expect(!file.isRolledOver)
    try file.append([9])
    #expect(file.isRolledOver)
    #expect(file.bytesInMemory == 0)
    #expect(file.bytesOnDisk == (threshold + 1 + 4095) / 4096 * 4096)
    #expect(try file.read(Int(threshold) + 10) == bytes.dropLast() + [7, 9])
  }

  @Test func `0 is disk from the first byte`() throws {
    let file = FileContent(store: try makeStore(threshold: .bytes(0)))
    #expect(!file.isRolledOver)
    try file.write([], at: 100)
    try file.resize(to: 0)
    #expect(!file.isRolledOver)
    try file.write([1], at: 0)
    #expect(file.isRolledOver)
    #expect(try file.read(10) == [1])
  }

  @Test func `unlimited never leaves memory by itself, but does when told`() throws {
    let file = FileContent(store: try makeStore(threshold: .bytes(10)), threshold: .unlimited)
    try file.write(pattern(1 << 20), at: 0)
    #expect(!file.isRolledOver)
    try file.rollOver()
    #expect(file.isRolledOver)
    #expect(try file.read(1 << 20) == pattern(1 << 20))
  }

  @Test func `resize and allocate past the threshold move the file first`() throws {
    let store = try makeStore(threshold: .bytes(10_000))
    let resized = FileContent(store: store)
    try resized.resize(to: 10_000)
    #expect(!resized.isRolledOver)
    try resized.resize(to: 10_001)
    #expect(resized.isRolledOver)
    #expect(resized.allocatedBytes == 0)
    let allocated = FileContent(store: store)
    try allocated.allocate(offset: 0, count: 10_000, keepingSize: false)
    #expect(!allocated.isRolledOver)
    #expect(allocated.size == 10_000)
    try allocated.allocate(offset: 0, count: 10_001, keepingSize: true)
    #expect(allocated.isRolledOver)
    #expect(allocated.size == 10_000)
  }

  @Test(arguments: [false, true])
  func `a file on disk starts anew in memory when it is cut to nothing`(encrypts: Bool) throws {
    let store = try makeStore(threshold: .bytes(100), encrypts: encrypts)
    let file = FileContent(store: store)
    try file.write(pattern(1000), at: 0)
    try file.resize(to: 50)
    #expect(file.isRolledOver)
    try file.resize(to: 0)
    #expect(!file.isRolledOver)
    expectNothingUsed(store)
    try file.write(pattern(100), at: 0)
    #expect(!file.isRolledOver)
    #expect(try file.read(1000) == pattern(100))
  }

  @Test func `moving to disk is idempotent and counts once`() throws {
    let store = try makeStore()
    let file = FileContent(store: store)
    try file.rollOver()
    try file.rollOver()
    #expect(file.isRolledOver)
    #expect(store.usage.rollovers == 1)
    #expect(store.usage.spilledFiles == 1)
  }

  @Test func `the default threshold is never more than half the budget`() throws {
    #expect(try makeStore(threshold: nil, budget: 1 << 20).configuration.threshold == .bytes(1 << 19))
    #expect(try makeStore(threshold: nil, budget: 1 << 40).configuration.threshold == .bytes(64 << 20))
    #expect(try makeStore(threshold: nil, capacity: 0).configuration.threshold == .unlimited)
  }
}
