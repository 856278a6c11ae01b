import CSpoolSystem
import Glibc
import SystemPackage
import TestSupport
import Testing

@testable import SpoolStorage

/// Disks that take what is written to them, and refuse it when the kernel brings it there.
@Suite(.serialized, .enabled(if: geteuid() == 0, "mounting needs root")) struct LateErrorTests {
  private static let megabyte: Int64 = 1 << 20

  /// What somebody finds who comes when the kernel has forgotten the file.
  static func forgetPages(_ file: FileContent, flushing: Bool = true) {
    guard let spill = file.spill else { return }
    // Opened anew: errors are told once to each who has opened it, and the file has to hear of them.
    let other = open("/proc/self/fd/\(spill.file)", O_RDONLY | O_CLOEXEC)
    if flushing { fsync(other) }
    posix_fadvise(other, 0, 0, POSIX_FADV_DONTNEED)
    close(other)
  }

  @Test(arguments: ["ext4", "ext2"], [false, true])
  func `what a sparse image on a full disk took reads as it was written, or its writer was told`(
    type: String, encrypts: Bool
  ) throws {
    let image = try SparseImage(type, size: 96, space: 24)
    let store = try makeStore(threshold: .bytes(3 << 20), budget: 12 << 20, directory: image.path, encrypts: encrypts)
    var files: [(content: FileContent, count: Int64)] = []
    var (refusedWrites, refusedSyncs) = (0, 0)
    for number in 0..<20 {
      let file = FileContent(store: store)
      var count: Int64 = 0
      while count < 4 * Self.megabyte {
        do throws(Errno) {
          try file.write(pattern(1 << 16, at: count, tag: UInt64(number)), at: count)
          count += 1 << 16
        } catch {
          #expect(error == .noSpace || error == .ioError || error == .readOnlyFileSystem, "\(error)")
          refusedWrites += 1
          break
        }
      }
      do throws(Errno) { try file.synchronize() } catch { refusedSyncs += 1 }
      files.append((file, count))
    }
    #expect(refusedWrites > 0)
    #expect(store.usage.diskRefusals > 0)
    for flushes in [false, true] {
      var (wrong, unreadable) = (0, 0)
      for (number, (file, count)) in files.enumerated() {
        Self.forgetPages(file, flushing: flushes)
        #expect(file.size == count)
        for offset in stride(from: 0, to: count, by: 1 << 16) {
          let expected = pattern(1 << 16, at: offset, tag: UInt64(number))
          guard let bytes = try? file.read(1 << 16, at: offset) else {
            unreadable += 1
            continue
          }
          if !isEqual(bytes, expected) { wrong += 1 }
        }
      }
      #expect(wrong == 0)
      // With its own structures the filesystem may lose the way to what it has, and says so.
      #expect(unreadable == 0 || flushes)
    }
    #expect(store.usage.unconfirmedBytes <= 8 << 20)
    files = []
    expectNothingUsed(store)
    #expect(store.usage.unconfirmedBytes == 0)
    #expect(store.usage.refusedBytes == 0)
  }

  @Test(arguments: [false, true])
  func `what the disk refuses stays in memory, and is told, until the disk takes it`(encrypts: Bool) throws {
    let disk = try FaultyDisk()
    defer { disk.end() }
    let store = try makeStore(threshold: .bytes(0), directory: disk.path, encrypts: encrypts)
    let file = FileContent(store: store)
    try file.write(pattern(100_000), at: 0)
    try file.synchronize()
    #expect(file.refusedBytes == 0)
    #expect(store.usage.unconfirmedBytes == 0)

    for error in [Errno.ioError, .noSpace] {
      disk.order(.refuse(error))
      try file.write(pattern(300_001, tag: 1), at: 50_001)
      #expect(throws: error) { try file.synchronize() }
      #expect(file.refusedBytes == 303_104)
      #expect(store.usage.refusedBytes == 303_104)
      #expect(store.usage.diskRefusals > 0)
      Self.forgetPages(file)
      try expect(file, reads: Array(pattern(100_000)[..<50_001]) + pattern(300_001, tag: 1), asking: 400_000)
      // It is told each time, to whoever asks.
      #expect(throws: error) { try file.synchronize() }
      // Changes of what was refused need nothing of the disk's.
      try file.write([1, 2, 3], at: 100_000)
      try file.resize(to: 200_000)
      try file.resize(to: 300_000)
      var expected = Array(pattern(100_000)[..<50_001]) + pattern(149_999, tag: 1)
      expected.replaceSubrange(100_000..<100_003, with: [1, 2, 3])
      expected += [UInt8](repeating: 0, count: 100_000)
      try expect(file, reads: expected, asking: 400_000)

      disk.order(.take)
      try file.synchronize()
      #expect(file.refusedBytes == 0)
      #expect(store.usage.unconfirmedBytes == 0)
      Self.forgetPages(file)
      try expect(file, reads: expected, asking: 400_000)
      try file.resize(to: 100_000)
      try file.write(pattern(100_000), at: 0)
      try file.synchronize()
    }
  }

  @Test func `the store's thread writes again what the disk refused`() throws {
    let disk = try FaultyDisk()
    defer { disk.end() }
    let store = try makeStore(threshold: .bytes(0), directory: disk.path)
    let file = FileContent(store: store)
    disk.order(.refuse(.ioError))
    try file.write(pattern(100_000), at: 0)
    #expect(throws: Errno.ioError) { try file.synchronize() }
    disk.order(.take)
    #expect(eventually { store.usage.unconfirmedBytes == 0 })
    #expect(store.usage.refusedBytes == 0)
    Self.forgetPages(file)
    try expect(file, reads: pattern(100_000), asking: 200_000)
    try file.synchronize()
  }

  @Test func `what a disk forgets that took it is written again`() throws {
    let disk = try FaultyDisk()
    defer { disk.end() }
    let store = try makeStore(threshold: .bytes(0), directory: disk.path)
    let file = FileContent(store: store)
    disk.order(.forget(.ioError))
    try file.write(pattern(5 << 20), at: 0)
    #expect(throws: Errno.ioError) { try file.synchronize() }
    Self.forgetPages(file)
    try expect(file, reads: pattern(5 << 20), asking: 6 << 20)
    disk.order(.take)
    try file.synchronize()
    Self.forgetPages(file)
    try expect(file, reads: pattern(5 << 20), asking: 6 << 20)
  }

  @Test(arguments: [false, true])
  func `a move that the disk refuses has not been one`(encrypts: Bool) throws {
    let disk = try FaultyDisk()
    defer { disk.end() }
    let store = try makeStore(threshold: .bytes(1 << 20), directory: disk.path, encrypts: encrypts)
    let file = FileContent(store: store)
    try file.write(pattern(1 << 20), at: 0)
    disk.order(.refuse(.ioError))
    #expect(throws: Errno.ioError) { try file.rollOver() }
    #expect(throws: Errno.ioError) { try file.append([1]) }
    #expect(!file.isRolledOver)
    #expect(file.bytesInMemory == 1 << 20)
    #expect(store.usage.failedRollovers == 2)
    #expect(store.usage.diskRefusals == 2)
    #expect(store.usage.diskBytes == 0)
    try expect(file, reads: pattern(1 << 20), asking: 2 << 20)
    disk.order(.take)
    try file.append([1])
    #expect(file.isRolledOver)
    Self.forgetPages(file)
    try expect(file, reads: pattern(1 << 20) + [1], asking: 2 << 20)
  }

  @Test func `a descriptor is given away of a file that is whole on disk, or not at all`() throws {
    let disk = try FaultyDisk()
    defer { disk.end() }
    let store = try makeStore(threshold: .bytes(0), directory: disk.path)
    let file = FileContent(store: store)
    disk.order(.refuse(.ioError))
    try file.write(pattern(100_000), at: 0)
    #expect(throws: Errno.ioError) { _ = try file.exposeDescriptor() }
    #expect(!file.isExposed)
    try expect(file, reads: pattern(100_000), asking: 200_000)
    disk.order(.take)
    let descriptor = try file.exposeDescriptor()
    posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED)
    var bytes = [UInt8](repeating: 0, count: 100_000)
    #expect(pread(descriptor, &bytes, bytes.count, 0) == bytes.count)
    #expect(bytes == pattern(100_000))
  }

  /// The writer hears of it when there is no room left for what is refused, and never less has been kept than it was told.
  @Test func `a disk that refuses all is told within twice the room for copies`() throws {
    let disk = try FaultyDisk()
    defer { disk.end() }
    // A quarter is 4 MiB.
    let store = try makeStore(threshold: .bytes(0), budget: 16 << 20, directory: disk.path)
    let file = FileContent(store: store)
    disk.order(.refuse(.ioError))
    var count: Int64 = 0
    var failure: Errno?
    while failure == nil, count < 64 << 20 {
      do throws(Errno) {
        try file.append(pattern(100_000, at: count))
        count += 100_000
      } catch {
        failure = error
      }
    }
    #expect(failure == .ioError)
    #expect((4 << 20...9 << 20).contains(count))
    #expect(file.size == count)
    #expect(store.usage.unconfirmedBytes <= 8 << 20)
    #expect(throws: Errno.ioError) { try file.write(pattern(200_000), at: 1 << 27) }
    Self.forgetPages(file)
    #expect(isEqual(try file.read(Int(count) + 1), pattern(Int(count))))
    // What is replaced by a write that fails is an error where it was on disk, and as it was where it was not.
    #expect(throws: Errno.ioError) { try file.write(pattern(100_000, tag: 9), at: count) }
    #expect(file.size == count)
    disk.order(.take)
    try file.synchronize()
    Self.forgetPages(file)
    #expect(isEqual(try file.read(Int(count) + 1), pattern(Int(count))))
    #expect(store.usage.unconfirmedBytes == 0)
  }

  @Test func `a filesystem without fallocate says so, and takes no memory for it`() throws {
    let image = try SparseImage("ext2", size: 64, space: 32)
    let store = try makeStore(threshold: .bytes(1 << 20), directory: image.path)
    let file = FileContent(store: store)
    try file.write(pattern(2 << 20), at: 0)
    for count in [1 << 20, 1 << 40, 8 << 40] as [Int64] {
      // Files of ext2 end before 2 TiB.
      let error = count > 1 << 40 ? Errno.fileTooLarge : .notSupported
      #expect(throws: error) { try file.allocate(offset: 1 << 20, count: count, keepingSize: true) }
      #expect(throws: error) { try file.allocate(offset: 0, count: count, keepingSize: false) }
      #expect(throws: error) { try file.zeroRange(offset: 0, count: count, keepingSize: true) }
      let other = FileContent(store: store)
      try? other.allocate(offset: 0, count: count, keepingSize: true)
      #expect(other.allocatedBytes == (count > 1 << 20 ? 0 : count))
    }
    #expect(file.size == 2 << 20)
    #expect(file.allocatedBytes == 2 << 20)
    try expect(file, reads: pattern(2 << 20), asking: 3 << 20)
  }

  @Test(arguments: [false, true])
  func `a hole where the filesystem has none reads as zeros and writes none`(encrypts: Bool) throws {
    let image = try SparseImage("ext2", size: 64, space: 32)
    let store = try makeStore(threshold: .bytes(1 << 20), directory: image.path, encrypts: encrypts)
    let file = FileContent(store: store)
    try file.write(pattern(2 << 20), at: 0)
    try file.resize(to: 1 << 40)
    try file.punchHole(offset: 10_000, count: 1 << 40)
    #expect(file.size == 1 << 40)
    #expect(file.allocatedBytes == 3 * 4096)
    var status = stat()
    fstat(try #require(file.spill).file, &status)
    #expect(status.st_blocks * 512 < 3 << 20)
    try expect(file, reads: Array(pattern(10_000)) + [UInt8](repeating: 0, count: 3_000_000))
    // Written in part: the rest of the page is not what the disk still has.
    try file.write([1, 2, 3], at: 1_000_001)
    try file.synchronize()
    Self.forgetPages(file)
    try expect(file, reads: [0, 0, 1, 2, 3, 0, 0], at: 999_999)
    try file.resize(to: 3 << 20)
    guard !encrypts else { return }
    let descriptor = try file.exposeDescriptor()
    var bytes = [UInt8](repeating: 1, count: 3 << 20)
    #expect(pread(descriptor, &bytes, bytes.count, 0) == bytes.count)
    var expected = pattern(10_000) + [UInt8](repeating: 0, count: 3 << 20 - 10_000)
    expected.replaceSubrange(1_000_001..<1_000_004, with: [1, 2, 3])
    #expect(isEqual(bytes, expected))
  }
}
