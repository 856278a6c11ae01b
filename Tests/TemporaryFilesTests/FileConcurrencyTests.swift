import CSpoolSystem
import Dispatch
import Glibc
import Synchronization
import SystemPackage
import TestSupport
import Testing

@testable import TemporaryFiles

/// Many files at once, and one file in the hands of several threads.
@Suite struct FileConcurrencyTests {
  private func store(budget: Int64) throws -> SpoolStore {
    try SpoolStore(SpoolConfiguration(memoryBudget: budget, spillDirectory: "/var/tmp"))
  }

  /// Runs `body` in threads of their own, each with its number; they may wait for each other.
  private func inThreads(_ count: Int, _ body: @escaping @Sendable (Int) throws -> Void) {
    let group = DispatchGroup()
    for number in 0..<count {
      let queue = DispatchQueue(label: "test-\(number)")
      queue.async(group: group) {
        do { try body(number) } catch { Issue.record(error) }
      }
    }
    group.wait()
  }

  private func nothingIsUsed(_ store: SpoolStore) -> Bool {
    for _ in 0..<2000 {
      let usage = store.usage
      if usage.memoryBytes == 0, usage.diskBytes == 0, usage.dataBytes == 0, usage.spilledFiles == 0 { return true }
      usleep(5000)
    }
    return false
  }

  @Test func tenThousandOpenFilesStayWithinTheBudget() throws {
    let budget = Int64(64 << 20)
    let store = try store(budget: budget)
    // Together nearly four times the budget, which alone makes them spill.
    let size = 24_000
    let holder = try (0..<10_000).map { number in
      let box = FileBox(try SpooledTemporaryFile(threshold: .bytes(1 << 30), store: store))
      try box.file.write([UInt8](repeating: UInt8(number % 251), count: size))
      return box
    }
    #expect(store.usage.memoryBytes <= budget && store.usage.spilledFiles > 0)
    for (number, box) in holder.enumerated() where number % 7 == 0 {
      #expect(try box.file.position == Int64(size))
      try box.file.seek(to: 0)
      #expect(try box.file.readToEnd() == [UInt8](repeating: UInt8(number % 251), count: size))
      try box.file.close()
    }
    withExtendedLifetime(holder) {}
    _ = consume holder
    #expect(nothingIsUsed(store))
  }

  @Test func threadsWithFilesOfTheirOwnShareOneBudget() throws {
    let store = try store(budget: 2 << 20)
    inThreads(8) { number in
      var random = SeededGenerator(seed: UInt64(number))
      for _ in 0..<20 {
        var file = try SpooledTemporaryFile(threshold: .bytes(600_000), store: store)
        var expected: [UInt8] = []
        for _ in 0..<30 {
          let bytes = [UInt8](
            repeating: .random(in: 0...255, using: &random), count: .random(in: 1...40_000, using: &random))
          try file.write(bytes)
          expected += bytes
        }
        try file.seek(to: 0)
        if try file.readToEnd() != expected { Issue.record("thread \(number) reads what it did not write") }
        #expect(store.usage.memoryBytes <= 2 << 20)
      }
    }
    #expect(nothingIsUsed(store))
  }

  /// A reader never sees bytes that were not written, in memory, while the file moves, and on disk.
  @Test func aReaderRunsBesideTheWriter() throws {
    let store = try store(budget: 1 << 30)
    let total = 4_000_000
    let box = FileBox(try SpooledTemporaryFile(threshold: .bytes(2_000_000), store: store))
    let readers = try (0..<2).map { _ in ReaderBox(try box.file.reader()) }
    inThreads(3) { number in
      if number == 2 {
        for start in stride(from: 0, to: total, by: 1000) {
          try box.file.write((start..<start + 1000).map { UInt8(truncatingIfNeeded: $0 % 251) })
        }
        return
      }
      var place = 0
      while place < total {
        let bytes = try readers[number].reader.read(count: 7919)
        for byte in bytes {
          if Int(byte) != place % 251 {
            Issue.record("wrong byte at \(place)")
            return
          }
          place += 1
        }
      }
    }
    #expect(box.file.isRolledOver == true)
    #expect(try box.file.position == Int64(total) && readers[0].reader.position == Int64(total))
  }

  @Test func aDroppedHandleLeavesNoDescriptorAndNoMemory() throws {
    let sandbox = try Sandbox()
    let store = try store(budget: 1 << 30)
    for round in 0..<3 {
      for closes in [false, true] {
        var spooled = try SpooledTemporaryFile(threshold: .bytes(10), in: sandbox.path, store: store)
        try spooled.write([UInt8](repeating: 1, count: 100 * round))
        var unnamed = try TemporaryFile(in: sandbox.path)
        try unnamed.write([1])
        var named = try NamedTemporaryFile(in: sandbox.path)
        try named.write([1])
        #expect(openDescriptors(in: sandbox.path) == (round == 0 ? 3 : 4))
        if closes {
          try spooled.close()
          try unnamed.close()
          try named.close()
          // Closed is closed, while the handles are still there.
          #expect(openDescriptors(in: sandbox.path) == 0 && store.usage.dataBytes == 0)
        }
      }
      #expect(openDescriptors(in: sandbox.path) == 0)
      #expect(store.usage.memoryBytes == 0 && store.usage.diskBytes == 0)
    }
  }
}

/// A file that more than one place of a test refers to; only one of them uses it at a time.
private final class FileBox: @unchecked Sendable {
  var file: SpooledTemporaryFile

  init(_ file: consuming SpooledTemporaryFile) { self.file = file }
}

/// A reader in the hands of a thread.
private final class ReaderBox: @unchecked Sendable {
  var reader: SpooledFileReader

  init(_ reader: consuming SpooledFileReader) { self.reader = reader }
}
