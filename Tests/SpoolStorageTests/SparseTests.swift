import SpoolStorage
import SystemPackage
import Testing

@Suite struct SparseTests {
  private static let tebibyte: Int64 = 1 << 40

  @Test(arguments: Place.allCases)
  func `a sparse file of 10 TiB costs nothing`(place: Place) throws {
    let file = FileContent(store: try place.makeStore(), threshold: place.threshold)
    guard try resize(file, to: 10 * Self.tebibyte) else { return }
    #expect(file.allocatedBytes == 0)
    try file.write([1, 2, 3], at: 10 * Self.tebibyte - 3)
    try file.write([4], at: 5 * Self.tebibyte)
    #expect(file.isRolledOver == place.isDisk)
    #expect(file.size == 10 * Self.tebibyte)
    #expect(file.allocatedBytes == 2 * 4096)
    #expect(file.bytesInMemory == (place.isDisk ? 0 : 2 * 65_536))
    #expect(try file.read(8, at: 10 * Self.tebibyte - 4) == [0, 1, 2, 3])
    #expect(try file.seekData(from: 0) == 5 * Self.tebibyte)
    #expect(try file.seekHole(from: 5 * Self.tebibyte) == 5 * Self.tebibyte + 4096)
    #expect(try file.seekData(from: 6 * Self.tebibyte) == 10 * Self.tebibyte - 4096)
    try file.punchHole(offset: 0, count: 9 * Self.tebibyte)
    #expect(file.allocatedBytes == 4096)
    try file.resize(to: Self.tebibyte)
    #expect(file.allocatedBytes == 0)
    #expect(throws: Errno.noSuchAddressOrDevice) { try file.seekData(from: 0) }
  }

  /// False where the files of the spill directory's filesystem end before that.
  private func resize(_ file: FileContent, to size: Int64) throws -> Bool {
    do {
      try file.resize(to: size)
      return true
    } catch Errno.fileTooLarge {
      return false
    }
  }

  @Test(arguments: [false, true])
  func `holes survive the move to disk`(encrypts: Bool) throws {
    let store = try makeStore(encrypts: encrypts)
    let file = FileContent(store: store)
    try file.write(pattern(5000, at: 10_000), at: 10_000)
    try file.write(pattern(100_000, at: 1_000_000), at: 1_000_000)
    try file.write(pattern(10, at: 5 << 30), at: 5 << 30)
    try file.resize(to: 6 << 30)
    func layout() throws -> [Int64] {
      var offsets: [Int64] = [file.size, file.allocatedBytes]
      var position: Int64 = 0
      while let data = try? file.seekData(from: position) {
        position = try file.seekHole(from: data)
        offsets += [data, position]
      }
      return offsets
    }
    let before = try layout()
    #expect(before.count == 2 + 3 * 2)
    try file.rollOver()
    #expect(try layout() == before)
    #expect(try file.read(5000, at: 10_000) == pattern(5000, at: 10_000))
    #expect(try file.read(100_000, at: 1_000_000) == pattern(100_000, at: 1_000_000))
    #expect(try file.read(20, at: 5 << 30) == pattern(10, at: 5 << 30) + [UInt8](repeating: 0, count: 10))
    try expect(file, reads: [UInt8](repeating: 0, count: 900_000), at: 20_000, asking: 900_000)
    #expect(store.usage.diskBytes == file.allocatedBytes)
  }

  @Test(arguments: Place.allCases)
  func `offsets beyond 4 GiB do not wrap`(place: Place) throws {
    let file = FileContent(store: try place.makeStore(), threshold: place.threshold)
    for power in [31, 32, 33, 40] {
      let offset = (Int64(1) << power) - 5000
      try file.write(pattern(10_000, at: offset), at: offset)
    }
    #expect(try file.read(1) == [0])
    for power in [31, 32, 33, 40] {
      let offset = (Int64(1) << power) - 5000
      #expect(try file.read(10_000, at: offset) == pattern(10_000, at: offset))
    }
    #expect(try file.append([1]) == (1 << 40) + 5000)
  }

  @Test(arguments: [false, true])
  func `what was never written reads as zeros in recycled memory`(encrypts: Bool) throws {
    let store = try makeStore(encrypts: encrypts)
    for size in [1000, 40_000, 300_000] {
      // Fill memory that the next file gets.
      let dirty = FileContent(store: store)
      try dirty.write([UInt8](repeating: 0xee, count: size), at: 0)
      try dirty.resize(to: 0)
      let file = FileContent(store: store)
      try file.write([1], at: Int64(size) - 10)
      try file.write([2], at: Int64(size) / 2)
      try file.resize(to: Int64(size) * 2)
      try file.allocate(offset: 0, count: Int64(size), keepingSize: true)
      try file.write([3], at: Int64(size) / 3)
      var expected = [UInt8](repeating: 0, count: 2 * size)
      expected[size - 10] = 1
      expected[size / 2] = 2
      expected[size / 3] = 3
      try expect(file, reads: expected, asking: 2 * size)
      try file.rollOver()
      try expect(file, reads: expected, asking: 2 * size)
    }
  }

  @Test(arguments: Place.allCases)
  func `offsets that make no sense are refused`(place: Place) throws {
    let file = FileContent(store: try place.makeStore(), threshold: place.threshold)
    try file.write(pattern(100), at: 0)
    #expect(throws: Errno.invalidArgument) { try file.write([1], at: -1) }
    #expect(throws: Errno.invalidArgument) { try file.read(1, at: -1) }
    #expect(throws: Errno.invalidArgument) { try file.resize(to: -1) }
    #expect(throws: Errno.invalidArgument) { try file.allocate(offset: 0, count: 0, keepingSize: false) }
    #expect(throws: Errno.invalidArgument) { try file.punchHole(offset: -1, count: 10) }
    #expect(throws: Errno.invalidArgument) { try file.zeroRange(offset: 0, count: -1, keepingSize: false) }
    #expect(throws: Errno.fileTooLarge) { try file.write([1, 2], at: .max - 1) }
    #expect(throws: Errno.fileTooLarge) { try file.write([1, 2, 3], at: .max - 1) }
    #expect(throws: Errno.fileTooLarge) { try file.resize(to: .max) }
    #expect(throws: Errno.fileTooLarge) { try file.punchHole(offset: 1, count: .max) }
    #expect(throws: Errno.noSuchAddressOrDevice) { try file.seekData(from: 100) }
    #expect(throws: Errno.noSuchAddressOrDevice) { try file.seekHole(from: -1) }
    #expect(try file.read(10, at: .max) == [])
    #expect(file.size == 100)
    #expect(try file.read(200) == pattern(100))
  }

  @Test func `the largest file of all can be written at its end in memory`() throws {
    let file = FileContent(store: try makeStore(), threshold: .unlimited)
    let end = Int64.max - 65_535
    try file.write([9], at: end - 1)
    #expect(file.size == end)
    #expect(try file.read(10, at: end - 2) == [0, 9])
    #expect(try file.seekData(from: 0) == end - 4096)
    #expect(throws: Errno.fileTooLarge) { try file.append([1]) }
    try file.punchHole(offset: 0, count: end)
    #expect(file.allocatedBytes == 0)
  }
}
