import CSpoolSystem
import Glibc
import SystemPackage
import TestSupport
import Testing

@testable import SpoolStorage

/// What is on disk, as somebody has it who reads or changes the disk.
struct RawDisk {
  let descriptor: Int32

  init(of file: FileContent) {
    descriptor = open("/proc/self/fd/\(file.spill!.file)", O_RDWR | O_CLOEXEC)
    #expect(descriptor >= 0)
  }

  func close() { Glibc.close(descriptor) }

  func read(_ count: Int, at offset: Int = 0) -> [UInt8] {
    [UInt8](unsafeUninitializedCapacity: count) { buffer, length in
      length = max(0, pread(descriptor, buffer.baseAddress, count, offset))
    }
  }

  func write(_ bytes: [UInt8], at offset: Int) {
    #expect(pwrite(descriptor, bytes, bytes.count, offset) == bytes.count)
  }

  /// Changes one bit.
  func flip(at offset: Int) { write([read(1, at: offset)[0] ^ 0x10], at: offset) }
}

@Suite struct EncryptionTests {
  private static func makeFile(_ bytes: [UInt8] = [], in store: SpoolStore? = nil) throws -> FileContent {
    let file = FileContent(store: try store ?? makeStore(encrypts: true), threshold: .bytes(0))
    try file.write(bytes, at: 0)
    // What is read comes from the disk then.
    try file.synchronize()
    return file
  }

  private static func contains(_ bytes: [UInt8], _ part: [UInt8]) -> Bool {
    bytes.withUnsafeBytes { bytes in
      (0...bytes.count - part.count).contains { memcmp(bytes.baseAddress! + $0, part, part.count) == 0 }
    }
  }

  @Test(arguments: [false, true], [false, true])
  func `what was written is in the spill file only if that is not encrypted`(
    encrypts: Bool, inOwnDirectory: Bool
  ) throws {
    let directory = inOwnDirectory ? try SpillDirectory(testSpillDirectory) : nil
    let file = FileContent(store: try makeStore(encrypts: encrypts), threshold: nil, spillingTo: directory)
    let secret = pattern(100)
    let start = 3 * 4096 - 50
    try file.write(pattern(200_000, tag: 7), at: 0)
    try file.write(secret, at: Int64(start))
    try file.rollOver()
    try file.write(secret, at: 150_000)
    try file.append(secret)
    let disk = RawDisk(of: file)
    defer { disk.close() }
    let raw = disk.read(1 << 20)
    #expect(raw.count == (encrypts ? 49 * 4096 : 200_100))
    // Each half on its side of a page's end, too.
    for part in [secret, Array(secret[..<50]), Array(secret[50...]), pattern(100, at: 100_000, tag: 7)] {
      #expect(Self.contains(raw, part) == !encrypts)
    }
    try expect(file, reads: secret, at: Int64(start), asking: 100)
    try expect(file, reads: secret, at: 200_000, asking: 1000)
  }

  @Test func `nothing on disk repeats: not for equal pages, files, or writes`() throws {
    let store = try makeStore(encrypts: true)
    let page = pattern(4096)
    let file = try Self.makeFile(page + page, in: store)
    let other = try Self.makeFile(page, in: store)
    let disk = RawDisk(of: file)
    let otherDisk = RawDisk(of: other)
    defer {
      disk.close()
      otherDisk.close()
    }
    var seen = Set([disk.read(4096), disk.read(4096, at: 4096), otherDisk.read(4096)])
    #expect(seen.count == 3)
    try file.write(page, at: 0)
    #expect(seen.insert(disk.read(4096)).inserted)
    try file.write([page[0]], at: 0)
    #expect(seen.insert(disk.read(4096)).inserted)
  }

  @Test func `what was changed on disk is an error, and only there`() throws {
    let bytes = pattern(20 * 4096)
    let file = try Self.makeFile(bytes)
    let disk = RawDisk(of: file)
    defer { disk.close() }
    for offset in [0, 4095, 5 * 4096 + 77, 20 * 4096 - 1] {
      let page = Int64(offset / 4096 * 4096)
      disk.flip(at: offset)
      #expect(throws: Errno.ioError) { try file.read(4096, at: page) }
      #expect(throws: Errno.ioError) { try file.read(1, at: page + 2000) }
      #expect(throws: Errno.ioError) { try file.read(bytes.count) }
      // What would need the page's old bytes fails as well, and changes nothing.
      #expect(throws: Errno.ioError) { try file.write([1], at: page + 5) }
      #expect(throws: Errno.ioError) { try file.punchHole(offset: page, count: 10) }
      disk.flip(at: offset)
      try expect(file, reads: bytes)
    }
    disk.flip(at: 7 * 4096)
    try expect(file, reads: Array(bytes[..<(7 * 4096)]))
    try expect(file, reads: Array(bytes[(8 * 4096)...]), at: 8 * 4096)
    // A page that is written anew needs nothing old.
    try file.write(Array(bytes[(7 * 4096)..<(8 * 4096)]), at: 7 * 4096)
    try expect(file, reads: bytes)
  }

  @Test func `pages that were exchanged, put back to an older state, cleared or cut off on disk are errors`() throws {
    let store = try makeStore(encrypts: true)
    let bytes = pattern(4 * 4096)
    let file = try Self.makeFile(bytes, in: store)
    let other = try Self.makeFile(bytes, in: store)
    let disk = RawDisk(of: file)
    let otherDisk = RawDisk(of: other)
    defer {
      disk.close()
      otherDisk.close()
    }
    let pages = (0..<4).map { disk.read(4096, at: $0 * 4096) }
    disk.write(pages[1], at: 0)
    #expect(throws: Errno.ioError) { try file.read(10) }
    disk.write(otherDisk.read(4096), at: 0)
    #expect(throws: Errno.ioError) { try file.read(10) }
    disk.write([UInt8](repeating: 0, count: 4096), at: 0)
    #expect(throws: Errno.ioError) { try file.read(10) }
    disk.write(pages[0], at: 0)
    try expect(file, reads: bytes)
    try file.write(Array(bytes[..<4096]), at: 0)
    try file.synchronize()
    disk.write(pages[0], at: 0)
    #expect(throws: Errno.ioError) { try file.read(10) }
    ftruncate(disk.descriptor, 3 * 4096 + 100)
    #expect(throws: Errno.ioError) { try file.read(10, at: 3 * 4096) }
    try expect(other, reads: bytes)
  }

  @Test func `what is in holes and past the end on disk is never read`() throws {
    let file = try Self.makeFile(pattern(3 * 4096))
    let disk = RawDisk(of: file)
    defer { disk.close() }
    try file.punchHole(offset: 4096, count: 4096)
    try file.resize(to: 2 * 4096 + 100)
    try file.resize(to: 100_000)
    disk.write(pattern(4096, tag: 3), at: 4096)
    disk.write(pattern(4096, tag: 3), at: 9 * 4096)
    var expected = pattern(2 * 4096 + 100) + [UInt8](repeating: 0, count: 100_000 - 2 * 4096 - 100)
    expected.replaceSubrange(4096..<8192, with: [UInt8](repeating: 0, count: 4096))
    try expect(file, reads: expected, asking: 200_000)
    try file.write([5], at: 9 * 4096 + 1)
    expected[9 * 4096 + 1] = 5
    try expect(file, reads: expected, asking: 200_000)
  }

  @Test func `a page that was cut shows nothing of its old bytes, however it is written next`() throws {
    for cut in [1, 100, 4095] {
      for write in [nil, 0, 50, 2000, 4095] as [Int64?] {
        let file = try Self.makeFile(pattern(8192))
        try file.resize(to: Int64(4096 + cut))
        if let write { try file.write([9], at: 4096 + write) }
        try file.resize(to: 8192)
        var expected = pattern(4096 + cut) + [UInt8](repeating: 0, count: 4096 - cut)
        if let write { expected[4096 + Int(write)] = 9 }
        try expect(file, reads: expected, asking: 9000)
      }
    }
  }

  @Test func `memory for seals is told, and comes back`() throws {
    let store = try makeStore(encrypts: true)
    let file = try Self.makeFile(pattern(10 * 65_536), in: store)
    #expect(store.usage.sealBytes == 10 * 16 * 24)
    try file.punchHole(offset: 65_536, count: 3 * 65_536 - 1)
    #expect(store.usage.sealBytes == 8 * 16 * 24)
    try file.resize(to: 5 * 65_536)
    #expect(store.usage.sealBytes == 3 * 16 * 24)
    try file.resize(to: 0)
    expectNothingUsed(store)
  }

  @Test func `the descriptor of an encrypted file is not given away`() throws {
    let store = try makeStore(encrypts: true)
    let file = FileContent(store: store)
    try file.write(pattern(1000), at: 0)
    #expect(throws: Errno.notSupported) { try file.exposeDescriptor() }
    #expect(!file.isRolledOver)
    #expect(!file.isExposed)
    try file.rollOver()
    #expect(throws: Errno.notSupported) { try file.exposeDescriptor() }
    try expect(file, reads: pattern(1000), asking: 2000)
  }

  /// One page and a half, always written as a whole: a reader that met both states in one page would get an error, or
  /// bytes of both.
  @Test func `a page that is written while others read it is one state or the other`() throws {
    let file = try Self.makeFile([UInt8](repeating: 1, count: 4096) + [1, 1])
    let complaints = Complaints()
    runThreads(4) { number in
      for round in 0..<1500 {
        do {
          if number == 0 {
            try file.write([UInt8](repeating: UInt8(1 + round % 200), count: 4096), at: 0)
          } else if number == 1 {
            try file.resize(to: round % 2 == 0 ? 4097 : 12_000)
          } else {
            let bytes = try file.read(4096 + 2)
            if bytes.prefix(4096).contains(where: { $0 != bytes[0] }) { complaints.add("a torn page") }
          }
        } catch {
          complaints.add("\(error)")
        }
      }
    }
    #expect(complaints.all == [])
  }
}
