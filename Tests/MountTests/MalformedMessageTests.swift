import CSpoolSystem
import Foundation
import SystemPackage
import TestSupport
import Testing

@testable import SpoolFS

/// A trap would take all files with it, so nothing that comes from outside may be one: each message is answered, or refused.
///
/// In processes of their own, which a trap would end.
@Suite(.enabled(if: geteuid() == 0, "long messages over a socket take root")) struct MalformedMessageTests {
  @Test(arguments: MountOptions.Cache.allCases) func aMessageCutShortAnywhereIsAnswered(
    _ cache: MountOptions.Cache
  ) async {
    await #expect(processExitsWith: .success) { [name = cache.rawValue as String] in
      Attack.run(MountOptions.Cache(rawValue: name)!) { try $0.cutShort() }
    }
  }

  @Test func extremeNumbersAreAnswered() async {
    await #expect(processExitsWith: .success) {
      Attack.run(.writethrough) { try $0.extremeNumbers() }
    }
  }

  @Test(arguments: MountOptions.Cache.allCases) func randomMessagesAreAnswered(_ cache: MountOptions.Cache) async {
    await #expect(processExitsWith: .success) { [name = cache.rawValue as String] in
      Attack.run(MountOptions.Cache(rawValue: name)!) { try $0.random(SeededGenerator.operations(35_000)) }
    }
  }

  @Test func namesWithoutAnEndAreRefused() async {
    await #expect(processExitsWith: .success) {
      let kernel = try FakeKernel(.init(extendedAttributes: true))
      let file = try Attack.makeFile("f", kernel)
      for (opcode, size) in [(Opcode.create, 16), (.getxattr, 8), (.setxattr, 8), (.removexattr, 0), (.lookup, 0)] {
        let answer = try kernel.call(opcode, node: file, [UInt8](repeating: 0x41, count: size + 64))
        try Attack.require(answer == [.init(error: .invalidArgument, body: [])], "\(opcode): \(answer)")
      }
      // A value that ends before it should.
      let value = withUnsafeBytes(of: (UInt32(4 << 20), UInt32(0))) { Array($0) } + Array("user.a\0value".utf8)
      let answer = try kernel.call(.setxattr, node: file, value)
      try Attack.require(answer == [.init(error: .invalidArgument, body: [])], "\(answer)")
    }
  }

  @Test func whatIsShorterThanAHeaderIsPassedOver() async {
    await #expect(processExitsWith: .success) {
      let kernel = try FakeKernel()
      for count in 1..<MessageLayout.headerSize { try kernel.sendRaw([UInt8](repeating: 1, count: count)) }
      _ = try Attack.makeFile("f", kernel)
    }
  }
}

/// Messages for a tree that stays in memory: nothing is to be taken from a disk.
private final class Attack {
  private static let budget: Int64 = 32 << 20
  private static let silent: Set = [Opcode.forget.rawValue, Opcode.batchForget.rawValue]

  private let kernel: FakeKernel
  private var generator = SeededGenerator(seed: SeededGenerator.testSeed(16))
  private let nodes: [UInt64]

  init(_ cache: MountOptions.Cache) throws {
    kernel = try FakeKernel(
      .init(
        storage: .init(threshold: .unlimited, memoryBudget: Self.budget, spillCapacity: 0), inodeLimit: 10_000,
        extendedAttributes: true), cache: cache)
    let made = try ["a", "b", "c"].map { [kernel] in try Self.makeFile($0, kernel) }
    nodes = [1, 2, 3, 4] + made + [99_999, .max]
  }

  /// What is thrown in a process of a test's own is lost; what is recorded is not.
  static func run(_ cache: MountOptions.Cache, _ body: (Attack) throws -> Void) {
    do { try body(Attack(cache)) } catch { Issue.record("\(error)") }
  }

  struct Failure: Error, CustomStringConvertible {
    var description: String
  }

  static func require(_ condition: Bool, _ text: @autoclosure () -> String) throws {
    if !condition { throw Failure(description: text()) }
  }

  /// - Returns: the number of a new file.
  static func makeFile(_ name: String, _ kernel: FakeKernel) throws -> UInt64 {
    let argument = fuse_mknod_in(mode: S_IFREG | 0o600, rdev: 0, umask: 0, padding: 0)
    let body = withUnsafeBytes(of: argument) { Array($0) } + Array("\(name)\0".utf8)
    let answer = try kernel.call(.mknod, node: FileSystem.rootID, body)
    try require(answer.count == 1 && answer[0].error == nil, "\(answer)")
    return answer[0].body.withUnsafeBytes { $0.load(as: UInt64.self) }
  }

  private func check(_ opcode: UInt32, _ node: UInt64, _ body: [UInt8]) throws {
    do {
      let isAnswered = !Self.silent.contains(opcode)
      let answers = try kernel.call(opcode, node: node, body, isAnswered: isAnswered)
      try Self.require(answers.count == (isAnswered ? 1 : 0), "answered by \(answers)")
    } catch {
      throw Failure(description: "opcode \(opcode), node \(node), \(body): \(error)")
    }
  }

  func cutShort() throws {
    for opcode in Array(0...UInt32(70)) + [4096, .max] {
      for filler in [UInt8(0), 0x41, 0xff] {
        for length in 0...112 { try check(opcode, nodes[4], [UInt8](repeating: filler, count: length)) }
        for node in nodes { try check(opcode, node, [UInt8](repeating: filler, count: 128)) }
      }
    }
  }

  static let numbers: [UInt64] = [
    0, 1, 2, 7, 4095, 4096, 65_535, 65_536, 1 << 20, (1 << 20) + 1, 1 << 31 - 1, 1 << 31, 1 << 32 - 1, 1 << 32, 1 << 44,
    1 << 47, 1 << 62, 1 << 63 - 65_536, 1 << 63 - 4096, 1 << 63 - 1, 1 << 63, (1 << 63) + 1, .max - 4095, .max - 1,
    .max,
  ]

  func extremeNumbers() throws {
    for offset in Self.numbers {
      for count in Self.numbers {
        let short = UInt32(truncatingIfNeeded: count)
        try check(
          .read, fuse_read_in(fh: 0, offset: offset, size: short, read_flags: 0, lock_owner: 0, flags: 0, padding: 0))
        for opcode in [Opcode.readdir, .readdirplus] {
          let list = fuse_read_in(
            fh: 0, offset: offset, size: short, read_flags: 0, lock_owner: 0, flags: 0, padding: 0)
          try check(opcode.rawValue, 1, bytes(list))
          try check(opcode.rawValue, 2, bytes(list))
        }
        try check(.lseek, fuse_lseek_in(fh: 0, offset: offset, whence: short & 7, padding: 0))
        for mode in [UInt32(0), 1, 2, 3, 16, 17, 8, .max] {
          try check(.fallocate, fuse_fallocate_in(fh: 0, offset: offset, length: count, mode: mode, padding: 0))
        }
        for opcode in [Opcode.copyFileRange, .copyFileRange64] {
          try check(
            opcode,
            fuse_copy_file_range_in(
              fh_in: 0, off_in: offset, nodeid_out: nodes[5], fh_out: 0, off_out: count, len: offset, flags: 0))
        }
      }
      try check(
        .write,
        bytes(
          fuse_write_in(
            fh: 0, offset: offset, size: 100, write_flags: .max, lock_owner: 0, flags: 0, padding: 0))
          + [UInt8](repeating: 1, count: 100))
      var change = fuse_setattr_in()
      change.valid = 1 << 3 | 1 << 4 | 1 << 5 | 1 << 10
      (change.size, change.atime, change.mtime, change.ctime) = (offset, offset, offset, offset)
      change.atimensec = .max
      try check(.setattr, change)
      try check(.getattr, [])
    }
  }

  private func check(_ opcode: Opcode, _ argument: some BitwiseCopyable) throws { try check(opcode, bytes(argument)) }
  private func check(_ opcode: Opcode, _ body: [UInt8]) throws { try check(opcode.rawValue, nodes[4], body) }
  private func bytes(_ value: some BitwiseCopyable) -> [UInt8] { withUnsafeBytes(of: value) { Array($0) } }

  // MARK: - Random messages

  func random(_ count: Int) throws {
    for _ in 0..<count {
      let isKnown = Int.random(in: 0..<20, using: &generator) > 0
      let opcode =
        isKnown ? Opcode.allCases.randomElement(using: &generator)!.rawValue : .random(in: 0...80, using: &generator)
      try check(opcode, node(), body())
    }
    // It goes on as if nothing had been.
    _ = try Self.makeFile("last", kernel)
  }

  private func node() -> UInt64 {
    switch Int.random(in: 0..<8, using: &generator) {
    case 0: nodes.randomElement(using: &generator)!
    case 1...2: 1
    default: .random(in: 1...40, using: &generator)
    }
  }

  private func body() -> [UInt8] {
    var body: [UInt8] = []
    for _ in 0..<Int.random(in: 0...9, using: &generator) {
      switch Int.random(in: 0..<6, using: &generator) {
      case 0...1: body += bytes(number())
      case 2: body += bytes(UInt32(truncatingIfNeeded: number()))
      case 3:
        body += Array(
          ["a\0", "b\0", "c\0", "d\0e\0", "user.x\0", ".spoolfs\0", "stats\0"].randomElement(using: &generator)!.utf8)
      case 4:
        body += (0..<Int.random(in: 0..<40, using: &generator)).map { _ in .random(in: 0...255, using: &generator) }
      default: body += [UInt8](repeating: 0x61, count: .random(in: 250...300, using: &generator)) + [0]
      }
    }
    return body
  }

  private func number() -> UInt64 {
    Bool.random(using: &generator)
      ? .random(in: 0...40, using: &generator) : Self.numbers.randomElement(using: &generator)!
  }
}
