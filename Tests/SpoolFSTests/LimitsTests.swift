import SpoolStorage
import SystemPackage
import TestSupport
import Testing

@testable import SpoolFS

/// Numbers at the edges are errors or answers, never traps: a trap would take all files with it. In processes of their own.
@Suite("Extreme numbers")
struct LimitsTests {
  @Test("as offsets and sizes")
  func offsets() async {
    await #expect(processExitsWith: .success) {
      for threshold in [SpoolConfiguration.Threshold.unlimited, .bytes(0), .bytes(5000)] {
        var calls = try ExtremeCalls(threshold)
        try calls.run(SeededGenerator.operations(20_000))
      }
    }
  }

  @Test("in a configuration")
  func configurations() async {
    await #expect(processExitsWith: .success) {
      let numbers: [Int64] = [.min, -1, 0, 1, 4095, 1 << 20, .max - 1, .max]
      var generator = SeededGenerator(seed: SeededGenerator.testSeed(3))
      for _ in 0..<2000 {
        func number() -> Int64 { numbers.randomElement(using: &generator)! }
        let storage = SpoolConfiguration(
          threshold: Bool.random(using: &generator) ? .bytes(number()) : .unlimited, memoryBudget: number(),
          spillCapacity: number(), sizeLimit: Bool.random(using: &generator) ? number() : nil)
        guard let tree = try? FileSystem(.init(storage: storage, inodeLimit: Int(number()))) else { continue }
        try? tree.write([UInt8](repeating: 1, count: 100_000), to: "f")
        _ = try? tree.contents(of: "f")
        _ = try? tree.contents(of: ".spoolfs/stats")
        guard tree.usage.free <= tree.usage.capacity else { throw Errno.outOfRange }
      }
    }
  }

  @Test("more bytes than there is memory for are EFBIG")
  func arrays() throws {
    let tree = try makeTree(threshold: .max)
    let file = try tree.open("f", .readWrite, options: .create)
    try file.resize(to: 1 << 62)
    #expect(errno { try file.read(count: .max, at: 0) } == .fileTooLarge)
    #expect(errno { try file.read(count: 1 << 60, at: 5) } == .fileTooLarge)
    #expect(try file.read(count: 3, at: 1 << 61) == [0, 0, 0])
    #expect(errno { try tree.contents(of: "f") } == .fileTooLarge)
  }

  @Test("a time with a second's nanoseconds or more is EINVAL")
  func times() throws {
    let tree = try makeTree()
    try tree.write([], to: "f")
    for nanoseconds in [1_000_000_000, UInt32.max] {
      let time = Timestamp(seconds: 1, nanoseconds: nanoseconds)
      #expect(errno { try tree.setTimes(accessed: time, of: "f") } == .invalidArgument)
      #expect(errno { try tree.setTimes(modified: time, of: "f") } == .invalidArgument)
    }
    for seconds in [Int64.min, -1, .max] {
      try tree.setTimes(accessed: Timestamp(seconds: seconds), modified: Timestamp(seconds: seconds), of: "f")
      #expect(try tree.metadata(of: "f").modified.seconds == seconds)
      _ = try tree.contents(of: "f")
    }
  }
}

/// Random calls on one file. Limits keep what succeeds small.
private struct ExtremeCalls {
  private let tree: FileSystem
  private var generator = SeededGenerator(seed: SeededGenerator.testSeed(4))

  init(_ threshold: SpoolConfiguration.Threshold) throws {
    tree = try FileSystem(
      .init(storage: .init(threshold: threshold, memoryBudget: 8 << 20, spillCapacity: 8 << 20, sizeLimit: 16 << 20)))
  }

  private mutating func number() -> Int64 {
    let numbers: [Int64] = [
      .min, .min + 1, -4096, -1, 0, 1, 4095, 4096, 65_535, 65_536, 1 << 20, 1 << 31, 1 << 32, 1 << 44, 1 << 47, 1 << 62,
      .max - 65_536, .max - 65_535, .max - 65_534, .max - 4096, .max - 1, .max,
    ]
    return Bool.random(using: &generator)
      ? .random(in: 0...200_000, using: &generator) : numbers.randomElement(using: &generator)!
  }

  mutating func run(_ count: Int) throws {
    let file = try tree.open("f", .readWrite, options: .create)
    for _ in 0..<count {
      let (offset, length, keepsSize) = (number(), number(), Bool.random(using: &generator))
      let bytes = [UInt8](repeating: 1, count: .random(in: 0...5000, using: &generator))
      do {
        switch Int.random(in: 0..<12, using: &generator) {
        case 0: _ = try file.read(count: Int(min(length, 1 << 20)), at: offset)
        case 1: try file.write(bytes, at: offset)
        case 2: try bytes.withUnsafeBytes { _ = try file.append($0) }
        case 3: try file.resize(to: length)
        case 4: try file.allocate(offset: offset, count: length, keepingSize: keepsSize)
        case 5: try file.punchHole(offset: offset, count: length)
        case 7: _ = try file.nextData(from: offset)
        case 8: _ = try file.nextHole(from: offset)
        case 9: try tree.resize("f", to: length)
        case 10: try tree.setTimes(accessed: .init(seconds: offset), modified: .init(seconds: length), of: "f")
        default: try file.resize(to: 0)
        }
      } catch is SpoolFSError {}
      let metadata = file.metadata
      guard metadata.size >= 0, metadata.allocatedSize >= 0, tree.usage.free >= 0 else { throw Errno.outOfRange }
    }
  }
}
