import CSpoolSystem
import Glibc
import SystemPackage
import Testing

@testable import TemporaryFiles

@Suite struct PersistTests {
  private func withDirectory(in parent: String = "/tmp", _ body: (FilePath) throws -> Void) throws {
    var template = Array("\(parent)/persist-XXXXXX".utf8CString)
    try #require(mkdtemp(&template) != nil)
    let directory = FilePath(platformString: template)
    defer { #expect(rmdir(directory.string) == 0, "something was left in \(directory)") }
    try body(directory)
  }

  private func contents(_ path: FilePath) throws -> String {
    let file = try FileDescriptor.open(path, .readOnly)
    return try file.closeAfter {
      var bytes = [UInt8](repeating: 0, count: 100)
      let count = try bytes.withUnsafeMutableBytes { try file.read(into: $0) }
      return String(decoding: bytes[..<count], as: UTF8.self)
    }
  }

  @Test func aNamedFileIsRenamed() throws {
    try withDirectory { directory in
      var file = try NamedTemporaryFile(in: directory)
      try file.write(contentsOf: "kept".utf8)
      let target = directory.appending("target")
      try file.persist(to: target, synchronize: true, permissions: [.ownerReadWrite, .groupRead])
      #expect(file.isClosed == true)
      #expect(try contents(target) == "kept")
      var status = stat()
      #expect(lstat(target.string, &status) == 0 && status.st_mode & 0o777 == 0o640)
      unlink(target.string)
    }
  }

  @Test(arguments: [Int64(100), 0]) func aSpooledFileIsCopiedFromMemoryAndLinkedFromDisk(threshold: Int64) throws {
    try withDirectory { directory in
      var file = try SpooledTemporaryFile(threshold: .bytes(threshold), in: directory)
      try file.write(contentsOf: "kept".utf8)
      #expect(file.isRolledOver == (threshold == 0))
      let target = directory.appending("target")
      try file.persist(to: target)
      #expect(try contents(target) == "kept")
      unlink(target.string)
    }
  }

  @Test func anUnnamedFileGetsAName() throws {
    try withDirectory { directory in
      var file = try TemporaryFile(in: directory)
      try file.write(contentsOf: "kept".utf8)
      let target = directory.appending("target")
      try file.persist(to: target, replacing: false)
      #expect(try contents(target) == "kept")
      var second = try TemporaryFile(in: directory)
      try second.write(contentsOf: "new".utf8)
      let error = #expect(throws: TemporaryFileError.self) { try second.persist(to: target, replacing: false) }
      #expect(error?.code == .alreadyExists)
      #expect(try contents(target) == "kept")
      try second.persist(to: target)
      #expect(try contents(target) == "new")
      unlink(target.string)
    }
  }

  @Test func anotherFilesystemGetsACopy() throws {
    try withDirectory(in: "/dev/shm") { other in
      try withDirectory { directory in
        var file = try NamedTemporaryFile(in: directory)
        try file.write(contentsOf: "kept".utf8)
        let target = other.appending("target")
        let error = #expect(throws: TemporaryFileError.self) { try file.persist(to: target, copying: false) }
        #expect(error?.code == .crossDevice)
        #expect(file.isClosed == false)
        try file.persist(to: target)
        #expect(try contents(target) == "kept")
        var unnamed = try TemporaryFile(in: directory)
        try unnamed.write(contentsOf: "newer".utf8)
        try unnamed.persist(to: target)
        #expect(try contents(target) == "newer")
        unlink(target.string)
      }
    }
  }

  @Test func aFailedPersistLeavesTheFileTemporary() throws {
    try withDirectory { directory in
      var file = try NamedTemporaryFile(in: directory)
      try file.write(contentsOf: "still".utf8)
      let target = directory.appending("nowhere/target")
      let error = #expect(throws: TemporaryFileError.self) { try file.persist(to: target) }
      #expect(error?.code == .notFound && error?.path == target)
      try file.seek(to: 0)
      #expect(try file.readToEnd() == Array("still".utf8))
      #expect(try contents(file.path) == "still")
      try file.close()
    }
  }
}
