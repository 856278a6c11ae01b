import CHostCalls
import Glibc
import SpoolFS
import SpoolStorage
import SystemPackage
import TestSupport
import Testing

/// Calls with numbers at the edges of what an offset can be are answered as by tmpfs.
@Suite(
  "A mount answers extreme numbers as tmpfs does", .serialized,
  .enabled(if: geteuid() == 0, "mounting a tmpfs takes root"))
struct LimitComparisonTests {
  private static let sizeLimit: Int64 = 64 << 20

  @Test(arguments: [MountOptions.Cache.writethrough, .none], [SpoolConfiguration.Threshold.unlimited])
  func extremeNumbers(cache: MountOptions.Cache, threshold: SpoolConfiguration.Threshold) throws {
    let reference = try ReferenceTmpfs(size: Self.sizeLimit)
    var template = Array("/tmp/spoolfs-limits-XXXXXX".utf8CString)
    let path = try #require(mkdtemp(&template).map { String(cString: $0) })
    defer { rmdir(path) }
    let tree = try FileSystem(
      .init(storage: .init(threshold: threshold, memoryBudget: 1 << 30, sizeLimit: Self.sizeLimit)))
    let mount = try tree.mount(at: FilePath(path), options: .init(cache: cache))
    defer { try? mount.unmount(lazily: true) }
    try compare(path, reference.path, seed: SeededGenerator.testSeed(31))
    withExtendedLifetime(reference) {}
  }

  private func compare(_ path: String, _ reference: String, seed: UInt64) throws {
    let (subject, expected) = (LimitSubject(path), LimitSubject(reference))
    var generator = SeededGenerator(seed: seed)
    var history: [String] = []
    for step in 0..<SeededGenerator.operations(4_000) {
      let call = LimitCall.random(using: &generator)
      let (got, wanted) = (subject.perform(call), expected.perform(call))
      history.append("\(call) -> \(wanted)")
      if got != wanted {
        Issue.record("step \(step), seed \(seed): answered \(got)\n\(history.suffix(12).joined(separator: "\n"))")
        return
      }
    }
  }
}

/// One call on one of two files.
private enum LimitCall {
  case write(at: Int64), read(at: Int64), resize(Int64), truncate(Int64)
  case allocate(mode: Int32, at: Int64, count: Int64)
  case seek(Int64, whence: Int32)
  case copy(from: Int64, to: Int64, count: Int)
  case startAnew

  /// Not in the last 64 KiB below 2^63, where no file of ours ends (docs/design.md), but past all of it.
  private static let numbers: [Int64] = [
    0, 1, 99, 4095, 4096, 10_000, 65_535, 65_536, 1 << 20, 1 << 31 - 1, 1 << 31, 1 << 32, 1 << 44 - 1, 1 << 44, 1 << 47,
    1 << 62, .max - 200_000, .max, -1, -99, -4096, .min, .min + 1,
  ]

  static func random(using generator: inout SeededGenerator) -> LimitCall {
    func number() -> Int64 { numbers.randomElement(using: &generator)! }
    switch Int.random(in: 0..<16, using: &generator) {
    case 0...2: return .write(at: number())
    case 3...4: return .read(at: number())
    case 5...6: return .resize(possibleSize(number()))
    case 7: return .truncate(possibleSize(number()))
    case 8...10:
      return .allocate(
        mode: [0, 1, 2, 3, 8, 32, -1].randomElement(using: &generator)!, at: number(), count: possibleSize(number()))
    case 11...13: return .seek(number(), whence: .random(in: -1...6, using: &generator))
    case 14: return .copy(from: number(), to: number(), count: Int(truncatingIfNeeded: number()))
    default: return .startAnew
    }
  }

  private static func possibleSize(_ number: Int64) -> Int64 { number == .max ? .max - 200_000 : number }
}

/// A directory of the host with two files.
private final class LimitSubject {
  private let path: String
  private let file: Int32
  private let source: Int32
  private let bytes = [UInt8](repeating: 7, count: 100)

  init(_ directory: String) {
    path = directory + "/file"
    file = Int32(host_open(path, O_RDWR | O_CREAT, 0o600))
    source = Int32(host_open(directory + "/source", O_RDWR | O_CREAT, 0o600))
    _ = host_write(source, [UInt8](repeating: 9, count: 10_000), 10_000, 0)
  }

  deinit {
    close(file)
    close(source)
  }

  func perform(_ call: LimitCall) -> Int64 {
    switch call {
    case .write(let offset): return host_write(file, bytes, bytes.count, offset)
    case .read(let offset):
      var buffer = bytes
      let count = host_read(file, &buffer, buffer.count, offset)
      return count > 0 ? buffer.prefix(Int(count)).reduce(count) { $0 &* 31 &+ Int64($1) } : count
    case .resize(let size): return host_resize(file, size)
    case .truncate(let size): return host_truncate(path, size)
    case .allocate(let mode, let offset, let count): return host_allocate(file, mode, offset, count)
    case .seek(let offset, let whence): return host_seek(file, offset, whence)
    case .copy(let from, let to, let count): return host_copy(source, from, file, to, count)
    case .startAnew: return host_resize(file, 0)
    }
  }
}
