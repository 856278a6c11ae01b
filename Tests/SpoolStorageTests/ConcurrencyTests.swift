import Glibc
import SpoolStorage
import Synchronization
import SystemPackage
import TestSupport
import Testing

@Suite struct ConcurrencyTests {
  @Test func `in memory a write is seen whole or not at all`() throws {
    let file = FileContent(store: try makeStore(), threshold: .unlimited)
    let block = 10_000
    try file.write([UInt8](repeating: 1, count: block), at: 60_000)
    let complaints = Complaints()
    runThreads(4) { number in
      for round in 0..<2000 {
        if number < 2 {
          _ = try? file.write([UInt8](repeating: UInt8(1 + (round + number) % 200), count: block), at: 60_000)
        } else if let bytes = try? file.read(block, at: 60_000), memcmp(bytes, Array(bytes.dropFirst()), block - 1) != 0
        {
          complaints.add("a torn write")
        }
      }
    }
    #expect(complaints.all == [])
  }

  /// Everything at once on a few files. Each offset only ever holds its own pattern or zeros.
  @Test(arguments: [false, true])
  func `readers, writers, cuts, holes and moves keep every byte`(encrypts: Bool) throws {
    let seed = SeededGenerator.testSeed()
    let store = try makeStore(threshold: .bytes(600_000), budget: 3 << 20, encrypts: encrypts)
    let complaints = Complaints()
    do {
      let files = (0..<4).map { _ in FileContent(store: store) }
      runThreads(8) { number in
        var random = SeededGenerator(seed: seed &+ UInt64(number))
        for _ in 0..<1500 {
          let file = files.randomElement(using: &random)!
          let offset = Int64.random(in: 0..<800_000, using: &random)
          let count = Int.random(in: 1...40_000, using: &random)
          if number < 4 {
            Self.check(file, count, offset, complaints)
          } else {
            Self.change(file, count, offset, &random, complaints)
          }
        }
      }
      for file in files { Self.check(file, Int(file.size), 0, complaints) }
    }
    #expect(complaints.all == [], "SPOOLFS_SEED=\(seed)")
    expectNothingUsed(store)
  }

  private static func check(_ file: FileContent, _ count: Int, _ offset: Int64, _ complaints: Complaints) {
    do {
      let bytes = try file.read(count, at: offset)
      let expected = pattern(bytes.count, at: offset)
      if isEqual(bytes, expected) { return }
      bytes.withUnsafeBufferPointer { bytes in
        expected.withUnsafeBufferPointer { expected in
          for index in bytes.indices where bytes[index] != 0 && bytes[index] != expected[index] {
            complaints.add("\(bytes[index]) instead of \(expected[index]) at \(offset + Int64(index))")
            return
          }
        }
      }
    } catch {
      complaints.add("reading: \(error)")
    }
  }

  private static func change(
    _ file: FileContent, _ count: Int, _ offset: Int64, _ random: inout SeededGenerator, _ complaints: Complaints
  ) {
    do {
      switch Int.random(in: 0..<12, using: &random) {
      case 0..<7: try file.write(pattern(count, at: offset), at: offset)
      case 7: try file.resize(to: offset)
      case 8: try file.punchHole(offset: offset, count: Int64(count))
      case 9: try file.zeroRange(offset: offset, count: Int64(count), keepingSize: true)
      case 10: try file.rollOver()
      default: try file.resize(to: 0)
      }
    } catch {
      complaints.add("changing: \(error)")
    }
  }

  @Test(arguments: [false, true])
  func `many writers never exceed the budget, and lose nothing`(encrypts: Bool) throws {
    let budget: Int64 = 6 << 20
    let store = try makeStore(budget: budget, encrypts: encrypts)
    let highest = Atomic<Int64>(0)
    let complaints = Complaints()
    runThreads(6) { number in
      var files: [FileContent] = []
      for round in 0..<24 {
        let file = FileContent(store: store)
        files.append(file)
        do {
          for index in 0..<Int64(4) {
            let offset = index * 100_000
            try file.write(pattern(100_000, at: offset, tag: UInt64(number * 100 + round)), at: offset)
            highest.max(store.usage.memoryBytes, ordering: .relaxed)
          }
        } catch {
          complaints.add("\(error)")
        }
      }
      for (round, file) in files.enumerated() {
        if let bytes = try? file.read(500_000), isEqual(bytes, pattern(400_000, tag: UInt64(number * 100 + round))) {
          continue
        }
        complaints.add("thread \(number) lost file \(round)")
      }
    }
    #expect(complaints.all == [])
    #expect(highest.load(ordering: .relaxed) <= budget)
    expectNothingUsed(store)
  }

  @Test(arguments: [false, true])
  func `appends from many threads all arrive, once`(encrypts: Bool) throws {
    let file = FileContent(store: try makeStore(threshold: .bytes(300_000), encrypts: encrypts))
    let complaints = Complaints()
    runThreads(4) { number in
      for _ in 0..<1000 {
        guard (try? file.append([UInt8](repeating: UInt8(number + 1), count: 100))) != nil else {
          return complaints.add("append")
        }
      }
    }
    #expect(complaints.all == [])
    let bytes = try file.read(500_000)
    #expect(bytes.count == 400_000)
    var counts = [Int](repeating: 0, count: 5)
    for start in stride(from: 0, to: bytes.count, by: 100) {
      #expect(Set(bytes[start..<start + 100]).count == 1)
      counts[Int(bytes[start])] += 1
    }
    #expect(counts == [0, 1000, 1000, 1000, 1000])
  }

  @Test func `files that grow out of their buffer while others move them to disk keep every byte`() throws {
    let store = try makeStore(budget: 2 << 20)
    let complaints = Complaints()
    let isOver = Atomic<Bool>(false)
    do {
      runThreads(4) { number in
        if number == 0 {
          // Beside the background thread, which the budget keeps busy.
          while !isOver.load(ordering: .relaxed) { store.relieveMemory(.max) }
          return
        }
        for round in 0..<150 {
          let file = FileContent(store: store)
          do {
            // Chunks begin in the second write, in the middle of a third one, or with the first.
            for index in 0..<Int64(4) {
              let offset = index * Int64(20_000 + round * 100)
              let bytes = pattern(20_000 + round * 100, at: offset, tag: UInt64(number))
              try file.write(bytes, at: offset)
              try expect(file, reads: bytes, at: offset)
            }
            let size = Int(file.size)
            try expect(file, reads: pattern(size, tag: UInt64(number)), asking: size + 10)
            try file.resize(to: Int64(size / 3))
            try expect(file, reads: pattern(size / 3, tag: UInt64(number)), asking: size)
          } catch {
            complaints.add("thread \(number) round \(round): \(error)")
          }
        }
        if number == 1 { isOver.store(true, ordering: .relaxed) }
      }
    }
    #expect(complaints.all == [])
    expectNothingUsed(store)
  }
}
