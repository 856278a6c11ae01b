import CSpoolSystem
import Glibc
import SpoolStorage
import SystemPackage
import TestSupport
import Testing

/// What the same calls do on the kernel's own tmpfs.
final class KernelFile {
  let file: Int32

  init() {
    let directory = open("/dev/shm", O_RDONLY | O_DIRECTORY)
    file = spool_open_unnamed(directory)
    close(directory)
  }

  deinit { close(file) }

  var status: stat {
    var status = stat()
    fstat(file, &status)
    return status
  }

  func changeSpace(_ mode: Int32, _ offset: Int64, _ count: Int64) {
    spool_fallocate(file, mode, off_t(offset), off_t(count))
  }

  func seek(_ offset: Int64, _ whence: Int32) -> Int64? {
    let found = lseek(file, off_t(offset), whence)
    return found < 0 ? nil : Int64(found)
  }

  func read(_ count: Int, at offset: Int64) -> [UInt8] {
    [UInt8](unsafeUninitializedCapacity: count) { buffer, length in
      length = max(0, pread(file, buffer.baseAddress, count, off_t(offset)))
    }
  }
}

private let seekData: Int32 = 3
private let seekHole: Int32 = 4
private let hasTmpfs = {
  let directory = open("/dev/shm", O_RDONLY | O_DIRECTORY)
  defer { close(directory) }
  return spool_is_memory_backed(directory) == 1
}()

@Suite struct ModelTests {
  static let thresholds: [SpoolConfiguration.Threshold] = [
    .unlimited, .bytes(0), .bytes(5000), .bytes(40_000), .bytes(100_000), .bytes(300_000),
  ]

  @Test(.enabled(if: hasTmpfs, "/dev/shm is no tmpfs"), arguments: thresholds, [false, true])
  func `any sequence of operations gives what tmpfs gives`(
    threshold: SpoolConfiguration.Threshold, encrypts: Bool
  ) throws {
    let seed = SeededGenerator.testSeed()
    var random = SeededGenerator(seed: seed)
    let store = try makeStore(encrypts: encrypts)
    for round in 0..<40 {
      let file = FileContent(store: store, threshold: threshold)
      let model = KernelFile()
      // Small files stay in the exact buffer, large ones span chunks.
      let span: Int64 = [3000, 30_000, 90_000, 400_000].randomElement(using: &random)!
      for step in 0..<60 {
        let operation = try perform(on: file, model, span: span, &random)
        let difference = difference(file, model, &random)
        try #require(
          difference == nil, "SPOOLFS_SEED=\(seed) round \(round) step \(step) \(operation): \(difference ?? "")")
      }
    }
    expectNothingUsed(store)
  }

  private func perform(
    on file: FileContent, _ model: KernelFile, span: Int64, _ random: inout SeededGenerator
  ) throws -> String {
    var offset = Int64.random(in: 0...span, using: &random)
    var count = Int64.random(in: 1...max(1, span / 3), using: &random)
    if Int.random(in: 0..<3, using: &random) == 0 { offset = offset / 4096 * 4096 }
    if Int.random(in: 0..<3, using: &random) == 0 { count = (count + 4095) / 4096 * 4096 }
    let keeping = Bool.random(using: &random)
    let bytes = pattern(Int(count), at: offset, tag: random.next() % 65_521)
    switch Int.random(in: 0..<20, using: &random) {
    case 0..<6:
      try file.write(bytes, at: offset)
      pwrite(model.file, bytes, bytes.count, off_t(offset))
      return "write \(offset) \(count)"
    case 6..<9:
      let end = Int64(model.status.st_size)
      #expect(try file.append(bytes) == end)
      pwrite(model.file, bytes, bytes.count, off_t(end))
      return "append \(count)"
    case 9..<12:
      try file.resize(to: offset)
      ftruncate(model.file, off_t(offset))
      return "resize \(offset)"
    case 12..<14:
      try file.allocate(offset: offset, count: count, keepingSize: keeping)
      model.changeSpace(keeping ? FALLOC_FL_KEEP_SIZE : 0, offset, count)
      return "allocate \(offset) \(count) \(keeping)"
    case 14..<17:
      try file.punchHole(offset: offset, count: count)
      model.changeSpace(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, count)
      return "punch \(offset) \(count)"
    case 17..<19:
      // tmpfs has no FALLOC_FL_ZERO_RANGE; this is what it does elsewhere.
      try file.zeroRange(offset: offset, count: count, keepingSize: keeping)
      model.changeSpace(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, count)
      model.changeSpace(keeping ? FALLOC_FL_KEEP_SIZE : 0, offset, count)
      return "zero \(offset) \(count) \(keeping)"
    default:
      if Int.random(in: 0..<4, using: &random) == 0 {
        try file.rollOver()
        return "roll over"
      }
      try file.resize(to: 0)
      ftruncate(model.file, 0)
      return "resize 0"
    }
  }

  /// The first thing that differs.
  private func difference(_ file: FileContent, _ model: KernelFile, _ random: inout SeededGenerator) -> String? {
    let status = model.status
    if file.size != Int64(status.st_size) { return "size \(file.size), not \(status.st_size)" }
    if file.allocatedBytes != Int64(status.st_blocks) * 512 {
      return "allocated \(file.allocatedBytes), not \(status.st_blocks * 512)"
    }
    let count = Int(status.st_size)
    guard let all = try? file.read(count + 10) else { return "unreadable" }
    let expected = model.read(count + 10, at: 0)
    if !isEqual(all, expected) {
      let position = zip(all, expected).enumerated().first { $1.0 != $1.1 }?.offset
      return "bytes differ at \(position ?? -1)"
    }
    let offset = Int64.random(in: 0...Int64(count) + 5000, using: &random)
    if !isEqual((try? file.read(10_000, at: offset)) ?? [], model.read(10_000, at: offset)) {
      return "read at \(offset)"
    }
    var position = offset / 3
    for _ in 0..<8 {
      let data = try? file.seekData(from: position)
      if data != model.seek(position, seekData) {
        return "data after \(position): \(data ?? -1), not \(model.seek(position, seekData) ?? -1)"
      }
      guard let data else { break }
      let hole = try? file.seekHole(from: data)
      if hole != model.seek(data, seekHole) {
        return "hole after \(data): \(hole ?? -1), not \(model.seek(data, seekHole) ?? -1)"
      }
      position = hole ?? 0
    }
    return nil
  }
}
