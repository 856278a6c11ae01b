// What the tests of files share.

import CSpoolSystem
import Glibc
import SystemPackage
import TestSupport
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
  var names: [String] { TestSupport.names(in: path) }
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
