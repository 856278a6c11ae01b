import Glibc
import Synchronization
import SystemPackage
import TestSupport
import Testing

@testable import SpoolStorage

/// Random operations on a disk that refuses and forgets at random: every byte that is read is right, or an error.
@Suite(.serialized, .enabled(if: geteuid() == 0, "mounting needs root")) struct LateErrorModelTests {
  /// What a file should hold.
  private struct Model {
    var bytes: [UInt8] = []
    /// Pages that may be errors: a write that failed was to replace them.
    var lost: Set<Int> = []

    mutating func write(_ new: [UInt8], at offset: Int) {
      resize(to: max(bytes.count, offset + new.count))
      bytes.replaceSubrange(offset..<offset + new.count, with: new)
      forget(offset..<offset + new.count)
    }

    mutating func resize(to size: Int) {
      if size < bytes.count { bytes.removeLast(bytes.count - size) }
      bytes += [UInt8](repeating: 0, count: size - bytes.count)
      lost = lost.filter { $0 * 4096 < size }
    }

    mutating func punch(_ range: Range<Int>) {
      let part = range.clamped(to: 0..<bytes.count)
      bytes.replaceSubrange(part, with: [UInt8](repeating: 0, count: part.count))
      forget(range)
    }

    /// Pages that lie in the range from end to end are as they should be.
    private mutating func forget(_ range: Range<Int>) {
      lost = lost.filter { $0 * 4096 < range.lowerBound || ($0 + 1) * 4096 > range.upperBound }
    }
  }

  @Test(arguments: [false, true])
  func `any sequence of operations on a disk that fails late reads right or is an error`(encrypts: Bool) throws {
    let seed = SeededGenerator.testSeed(encrypts ? 1 : 0)
    var random = SeededGenerator(seed: seed)
    let disk = try FaultyDisk()
    defer { disk.end() }
    let store = try makeStore(budget: 16 << 20, directory: disk.path, encrypts: encrypts)
    for round in 0..<SeededGenerator.operations(8) {
      let threshold = [0, 100_000, 1_500_000].randomElement(using: &random)!
      let file = FileContent(store: store, threshold: .bytes(Int64(threshold)))
      let span = [30_000, 400_000, 6_000_000].randomElement(using: &random)!
      var model = Model()
      for step in 0..<50 {
        let text = try perform(on: file, &model, disk, span: span, &random)
        let difference = difference(file, model, &random)
        try #require(difference == nil, "SPOOLFS_SEED=\(seed) round \(round) step \(step) \(text): \(difference ?? "")")
      }
      disk.order(.take)
      forgetPages(file)
      #expect(difference(file, model, &random) == nil, "SPOOLFS_SEED=\(seed) round \(round)")
      // What it refused before may be told now, once; what is lost always is.
      if (try? file.synchronize()) == nil {
        do { try file.synchronize() } catch {
          #expect(!model.lost.isEmpty, "SPOOLFS_SEED=\(seed) round \(round) \(error)")
        }
      }
      #expect(file.refusedBytes == 0)
      forgetPages(file)
      #expect(difference(file, model, &random) == nil, "SPOOLFS_SEED=\(seed) round \(round) at the end")
    }
    expectNothingUsed(store)
    #expect(store.usage.unconfirmedBytes == 0 && store.usage.refusedBytes == 0)
    #expect(store.usage.diskRefusals > 0)
  }

  private func perform(
    on file: FileContent, _ model: inout Model, _ disk: FaultyDisk, span: Int, _ random: inout SeededGenerator
  ) throws -> String {
    var offset = Int.random(in: 0...span, using: &random)
    var count = Int.random(in: 1...max(1, span / 3), using: &random)
    if Int.random(in: 0..<3, using: &random) == 0 { offset = offset / 4096 * 4096 }
    if Int.random(in: 0..<3, using: &random) == 0 { count = (count + 4095) / 4096 * 4096 }
    switch Int.random(in: 0..<20, using: &random) {
    case 0..<8:
      let bytes = pattern(count, at: Int64(offset), tag: random.next() % 65_521)
      return try write(bytes, at: offset, to: file, &model)
    case 8..<10:
      return try write(pattern(count, tag: random.next() % 65_521), at: model.bytes.count, to: file, &model)
    case 10..<12:
      do {
        try file.resize(to: Int64(offset))
        model.resize(to: offset)
      } catch {}
      return "resize \(offset)"
    case 12..<14:
      return try punch(offset..<offset + count, of: file, &model)
    case 14..<16:
      do {
        try file.synchronize()
        #expect(model.lost.isEmpty)
        forgetPages(file)
      } catch {}
      return "synchronize"
    case 16:
      do { try file.rollOver() } catch {}
      return "roll over"
    default:
      let orders: [FaultyDisk.Order] = [
        .take, .take, .refuse(.ioError), .refuse(.noSpace), .refuseSome(.ioError, of: 3), .forget(.ioError),
      ]
      let order = orders.randomElement(using: &random)!
      disk.order(order)
      return "\(order)"
    }
  }

  private func write(_ bytes: [UInt8], at offset: Int, to file: FileContent, _ model: inout Model) throws -> String {
    do {
      try file.write(bytes, at: Int64(offset))
      model.write(bytes, at: offset)
      return "write \(offset) \(bytes.count)"
    } catch {
      #expect(Int(file.size) == model.bytes.count)
      try look(at: offset..<offset + bytes.count, orNew: bytes, in: file, &model)
      return "write \(offset) \(bytes.count), \(error)"
    }
  }

  private func punch(_ range: Range<Int>, of file: FileContent, _ model: inout Model) throws -> String {
    do {
      try file.punchHole(offset: Int64(range.lowerBound), count: Int64(range.count))
      model.punch(range)
      return "punch \(range)"
    } catch {
      try look(at: range, orNew: [UInt8](repeating: 0, count: range.count), in: file, &model)
      return "punch \(range), \(error)"
    }
  }

  /// After an operation that failed each byte is as it was, or as it should have become, or its page is an error.
  private func look(at range: Range<Int>, orNew bytes: [UInt8], in file: FileContent, _ model: inout Model) throws {
    let end = min(range.upperBound, model.bytes.count)
    for page in range.lowerBound / 4096..<max(range.lowerBound / 4096, (end + 4095) / 4096) {
      let part = (page * 4096..<page * 4096 + 4096).clamped(to: range).clamped(to: 0..<end)
      guard !part.isEmpty else { continue }
      guard let found = try? file.read(part.count, at: Int64(part.lowerBound)) else {
        model.lost.insert(page)
        continue
      }
      let new = Array(bytes[(part.lowerBound - range.lowerBound)...].prefix(part.count))
      if found == new { model.bytes.replaceSubrange(part, with: new) }
    }
  }

  /// Without fsync(2): the disk tells only once what it has forgotten, and the file has to hear of it.
  private func forgetPages(_ file: FileContent) { LateErrorTests.forgetPages(file, flushing: false) }

  private func difference(_ file: FileContent, _ model: Model, _ random: inout SeededGenerator) -> String? {
    if Int(file.size) != model.bytes.count { return "size \(file.size), not \(model.bytes.count)" }
    let start = Int.random(in: 0...model.bytes.count, using: &random)
    if model.lost.isEmpty {
      guard let all = try? file.read(model.bytes.count + 10) else { return "unreadable" }
      if !isEqual(all, model.bytes) {
        return "bytes differ at \(zip(all, model.bytes).enumerated().first { $1.0 != $1.1 }?.offset ?? -1)"
      }
      guard let part = try? file.read(70_000, at: Int64(start)) else { return "unreadable at \(start)" }
      return isEqual(part, Array(model.bytes[start...].prefix(70_000))) ? nil : "bytes differ after \(start)"
    }
    for page in 0..<(model.bytes.count + 4095) / 4096 {
      let expected = Array(model.bytes[(page * 4096)...].prefix(4096))
      guard let found = try? file.read(4096, at: Int64(page * 4096)) else {
        if !model.lost.contains(page) { return "page \(page) is unreadable" }
        continue
      }
      if !isEqual(found, expected) { return "page \(page) differs" }
    }
    return nil
  }

  @Test func `readers see one write or another, whatever the disk does`() throws {
    let disk = try FaultyDisk()
    defer { disk.end() }
    let store = try makeStore(threshold: .bytes(0), budget: 16 << 20, directory: disk.path)
    let file = FileContent(store: store)
    let pages = 1500
    @Sendable func page(_ number: Int, _ tag: UInt64) -> [UInt8] { pattern(4096, at: Int64(number) * 4096, tag: tag) }
    for number in 0..<pages { try file.write(page(number, 0), at: Int64(number) * 4096) }
    try file.synchronize()
    let isOver = Atomic<Bool>(false)
    let complaints = Complaints()
    let seed = SeededGenerator.testSeed(2)
    runThreads(4) { number in
      var random = SeededGenerator(seed: seed &+ UInt64(number))
      if number == 0 {
        for step in 0..<400 {
          let first = Int.random(in: 0..<pages - 60, using: &random)
          let tag = UInt64.random(in: 0...1, using: &random)
          let bytes = pattern(60 * 4096, at: Int64(first) * 4096, tag: tag)
          _ = try? file.write(bytes, at: Int64(first) * 4096)
          if step % 7 == 0 { try? file.synchronize() }
          if step % 20 == 0 { disk.order(.refuseSome(.ioError, of: 4)) }
          if step % 20 == 10 { disk.order(step % 40 == 10 ? .take : .forget(.ioError)) }
        }
        isOver.store(true, ordering: .releasing)
        return
      }
      while !isOver.load(ordering: .acquiring) {
        let first = Int.random(in: 0..<pages - 20, using: &random)
        if number == 3, let spill = file.stateLock.withSharedLock({ file.spill }) {
          posix_fadvise(spill.file, 0, 0, POSIX_FADV_DONTNEED)
        }
        guard let bytes = try? file.read(20 * 4096, at: Int64(first) * 4096) else { continue }
        for index in 0..<20 {
          let found = Array(bytes[index * 4096..<(index + 1) * 4096])
          if !isEqual(found, page(first + index, 0)), !isEqual(found, page(first + index, 1)) {
            complaints.add("SPOOLFS_SEED=\(seed): page \(first + index) begins with \(found.prefix(4))")
          }
        }
      }
    }
    #expect(complaints.all == [])
  }
}
