import Glibc
import SpoolStorage
import SystemPackage
import TestSupport
import Testing

/// A directory of its own, removed at the end of the test.
final class ScratchDirectory {
  let path: FilePath

  init() {
    var template = Array("/var/tmp/spool-test-XXXXXX".utf8CString)
    path = FilePath(platformString: mkdtemp(&template)!)
  }

  deinit { rmdir(path.string) }

  /// The names in it.
  var names: [String] { TestSupport.names(in: path) }
}

/// Random bytes that are never zero, twice the length that a pattern can start at.
private let noise: [UInt8] = {
  var random = SeededGenerator(seed: 1)
  return (0..<1 << 16).map { _ in UInt8.random(in: 1...255, using: &random) }
}()

/// Bytes that tell where they belong: the same for the same offset and tag, never zero, and of no short period.
func pattern(_ count: Int, at offset: Int64 = 0, tag: UInt64 = 0) -> [UInt8] {
  // Not a power of two: chunks and pages hold different bytes.
  let period = 65_521
  // The empty array is shared, and filling it "with nothing" is a write that ThreadSanitizer reports.
  if count == 0 { return [] }
  return [UInt8](unsafeUninitializedCapacity: count) { buffer, length in
    noise.withUnsafeBytes { noise in
      while length < count {
        let start = Int((UInt64(offset) &+ UInt64(length) &+ tag &* 7919) % UInt64(period))
        let part = min(period - start, count - length)
        memcpy(buffer.baseAddress! + length, noise.baseAddress! + start, part)
        length += part
      }
    }
  }
}

/// Fails unless the file reads as `expected` from `offset` on, to its end if `expected` is all that is left.
func expect(
  _ file: FileContent, reads expected: [UInt8], at offset: Int64 = 0, asking count: Int? = nil,
  sourceLocation: SourceLocation = #_sourceLocation
) throws {
  let bytes = try file.read(count ?? expected.count, at: offset)
  #expect(isEqual(bytes, expected), "wrong bytes at \(offset)", sourceLocation: sourceLocation)
}

/// Comparison at the speed of memcmp, also in debug builds.
func isEqual(_ left: [UInt8], _ right: [UInt8]) -> Bool {
  left.count == right.count && memcmp(left, right, left.count) == 0
}

extension FileContent {
  @discardableResult
  func write(_ bytes: [UInt8], at offset: Int64) throws(Errno) -> Int {
    var result: Result<Int, Errno> = .success(0)
    bytes.withUnsafeBytes { buffer in
      do throws(Errno) { result = .success(try write(buffer, at: offset)) } catch { result = .failure(error) }
    }
    return try result.get()
  }

  @discardableResult
  func append(_ bytes: [UInt8]) throws(Errno) -> Int64 {
    var result: Result<Int64, Errno> = .success(0)
    bytes.withUnsafeBytes { buffer in
      do throws(Errno) { result = .success(try append(buffer)) } catch { result = .failure(error) }
    }
    return try result.get()
  }

  func read(_ count: Int, at offset: Int64 = 0) throws -> [UInt8] {
    try [UInt8](unsafeUninitializedCapacity: count) { buffer, length in
      length = try read(into: UnsafeMutableRawBufferPointer(buffer), at: offset)
    }
  }
}

/// Where tests spill: `SPOOLFS_SPILL_DIR` runs the suite on another filesystem.
let testSpillDirectory = environmentPath("SPOOLFS_SPILL_DIR") ?? "/var/tmp"

/// A store for tests: what is not said is large.
func makeStore(
  threshold: SpoolConfiguration.Threshold? = .bytes(1 << 30), budget: Int64 = 1 << 30, capacity: Int64? = nil,
  limit: Int64? = nil, directory: FilePath = testSpillDirectory, encrypts: Bool = false
) throws(Errno) -> SpoolStore {
  try SpoolStore(
    SpoolConfiguration(
      threshold: threshold, memoryBudget: budget, spillDirectory: directory, spillCapacity: capacity, sizeLimit: limit,
      encryptsSpill: encrypts))
}

/// Where the bytes of a file are.
enum Place: CaseIterable {
  case memory, disk, encryptedDisk

  var isDisk: Bool { self != .memory }
  /// What keeps a file there.
  var threshold: SpoolConfiguration.Threshold { isDisk ? .bytes(0) : .unlimited }

  func makeStore() throws(Errno) -> SpoolStore {
    try SpoolStorageTests.makeStore(encrypts: self == .encryptedDisk)
  }
}

/// Fails unless a store whose files are all gone has everything back: at once, or when the background thread has
/// finished with the file that it is moving.
func expectNothingUsed(_ store: SpoolStore, sourceLocation: SourceLocation = #_sourceLocation) {
  _ = eventually { store.usage.dataBytes == 0 }
  let usage = store.usage
  #expect(usage.memoryBytes == 0, sourceLocation: sourceLocation)
  #expect(usage.diskBytes == 0, sourceLocation: sourceLocation)
  #expect(usage.dataBytes == 0, sourceLocation: sourceLocation)
  #expect(usage.spilledFiles == 0, sourceLocation: sourceLocation)
  #expect(usage.sealBytes == 0, sourceLocation: sourceLocation)
  #expect(usage.idlePoolBytes <= usage.poolBytes, sourceLocation: sourceLocation)
}

/// Waits for what a background thread will bring about; the deadline only ends a test that fails.
func eventually(_ condition: () -> Bool) -> Bool {
  for _ in 0..<6000 {
    if condition() { return true }
    usleep(5000)
  }
  return condition()
}
