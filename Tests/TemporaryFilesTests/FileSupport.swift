// What the tests of files share.

import CSpoolSystem
import Glibc
import SystemPackage
import Testing

@testable import TemporaryFiles

/// A directory of its own, which must be empty when the test ends: nothing may be left behind.
final class Sandbox {
  let path: FilePath

  init(in parent: FilePath = "/var/tmp") throws {
    var template = Array("\(parent)/files-XXXXXX".utf8CString)
    try #require(mkdtemp(&template) != nil)
    path = FilePath(platformString: template)
  }

  deinit {
    #expect(names == [], "left behind in \(path)")
    #expect(path.withPlatformString { rmdir($0) } == 0)
  }

  /// The names in it, repaired where they are no UTF-8.
  var names: [String] {
    guard let directory = path.withPlatformString({ opendir($0) }) else { return [] }
    defer { closedir(directory) }
    var names: [String] = []
    while let entry = readdir(directory) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if name != ".", name != ".." { names.append(name) }
    }
    return names.sorted()
  }
}

/// All that is in a file.
func contents(of path: FilePath) throws -> [UInt8] {
  let file = try FileDescriptor.open(path, .readOnly)
  return try file.closeAfter {
    var bytes = [UInt8](repeating: 0, count: Int(try file.seek(offset: 0, from: .end)))
    var done = 0
    while done < bytes.count {
      let count = try bytes[done...].withUnsafeMutableBytes { try file.read(fromAbsoluteOffset: Int64(done), into: $0) }
      if count == 0 { break }
      done += count
    }
    return Array(bytes[..<done])
  }
}

func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }

/// The status of what is under a path, links not followed; nil where nothing is.
func status(of path: FilePath) -> stat? {
  var status = stat()
  return path.withPlatformString { lstat($0, &status) } == 0 ? status : nil
}

/// How many descriptors the process has open.
func openDescriptors() -> Int {
  guard let directory = opendir("/proc/self/fd") else { return -1 }
  defer { closedir(directory) }
  var count = 0
  while readdir(directory) != nil { count += 1 }
  return count
}

/// The same numbers for the same seed.
struct SeededGenerator: RandomNumberGenerator {
  private var state: UInt64

  init(seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
    return mixed ^ (mixed >> 31)
  }

  /// The same each time; `SPOOLFS_SEED` replays a failure, or with "random" looks for one.
  static func testSeed() -> UInt64 {
    guard let text = getenv("SPOOLFS_SEED").map({ String(cString: $0) }) else { return 20_261_121 }
    return UInt64(text) ?? .random(in: 1...999_999_999)
  }
}
