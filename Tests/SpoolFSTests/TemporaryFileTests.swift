import Glibc
import SpoolStorage
import SystemPackage
import Testing

@testable import SpoolFS

/// The primitives of TemporaryFiles in a tree: what they leave, and what others in the tree see of them.
@Suite struct TemporaryFileTests {
  private func names(_ tree: FileSystem, _ path: FilePath = "/") throws -> [String] {
    try tree.entries(of: path).map { $0.name.string }.sorted()
  }

  @Test func aNamedFileIsInTheTreeUntilItIsClosed() throws {
    let tree = try makeTree()
    try tree.createDirectory(at: "/dir")
    var file = try tree.namedTemporaryFile(in: "/dir", prefix: "a-", suffix: ".txt")
    try file.write(contentsOf: "hello".utf8)
    let path = file.path
    #expect(path.string.hasPrefix("/dir/a-") && path.string.hasSuffix(".txt"))
    #expect(try tree.contents(of: path) == Array("hello".utf8))
    #expect(try tree.metadata(of: path).permissions == .ownerReadWrite)
    try file.close()
    #expect(!tree.exists(path))
    try file.close()
  }

  @Test func aDroppedFileLeavesTheTree() throws {
    let tree = try makeTree()
    let inodes = tree.usage.inodes
    do {
      _ = try tree.namedTemporaryFile()
      _ = try tree.spooledTemporaryFile()
      _ = try tree.temporaryFile()
      _ = try tree.namedTemporaryFile(cleanup: .onScopeExit)
    }
    #expect(try names(tree) == [])
    #expect(tree.usage.inodes == inodes)
  }

  @Test func aKeptFileStays() throws {
    let tree = try makeTree()
    var file = try tree.namedTemporaryFile()
    let path = try file.keep()
    try file.write([1])
    try file.close()
    #expect(try tree.contents(of: path) == [1])
  }

  @Test func whatTookTheNameIsLeftAlone() throws {
    let tree = try makeTree()
    var file = try tree.namedTemporaryFile()
    try tree.write([7], to: "/other")
    try tree.rename("/other", to: file.path)
    try file.close()
    #expect(try names(tree).count == 1)
  }

  @Test func aFileRemovedBySomebodyElseIsNoError() throws {
    let tree = try makeTree()
    let inodes = tree.usage.inodes
    var file = try tree.namedTemporaryFile()
    try tree.remove(file.path)
    try file.write([1, 2])
    #expect(try file.size == 2)
    try file.close()
    #expect(tree.usage.inodes == inodes)
  }

  @Test func aSpooledFileHasAThresholdOfItsOwn() throws {
    let tree = try makeTree(threshold: 1 << 20)
    var file = try tree.spooledTemporaryFile(threshold: .bytes(10), suffix: ".bin")
    try file.write([UInt8](repeating: 1, count: 10))
    #expect(file.isRolledOver == false)
    try file.write([2])
    #expect(file.isRolledOver == true)
    let path = file.path!
    #expect(try tree.contents(of: path).count == 11)
    try file.seek(to: 9)
    #expect(try file.readToEnd() == [1, 2])
    try file.resize(to: 0)
    #expect(file.isRolledOver == false)
    try file.rollOver()
    #expect(file.isRolledOver == true)
    try file.close()
    #expect(!tree.exists(path))
  }

  @Test func anUnnamedFileHasNoName() throws {
    let tree = try makeTree()
    var file = try tree.temporaryFile(maximumSize: 3)
    #expect(try names(tree) == [])
    try file.write([1, 2, 3])
    let error = #expect(throws: TemporaryFileError.self) { try file.write([4]) }
    #expect(error?.code == .sizeLimitExceeded)
    #expect(try file.size == 3)
    let refused = #expect(throws: TemporaryFileError.self) { _ = try file.fileDescriptor() }
    #expect(refused?.code == .unsupported)
  }

  @Test func aFileCanBecomePermanentOnTheHost() throws {
    let tree = try makeTree()
    var target = try NamedTemporaryFile()
    var file = try tree.namedTemporaryFile()
    try file.write(contentsOf: "out".utf8)
    try file.persist(to: target.path)
    #expect(try names(tree) == [])
    // Another file has taken the name of the first one, and goes with it.
    let error = #expect(throws: TemporaryFileError.self) { _ = try target.reopen() }
    #expect(error?.code == .replaced)
    let path = target.path
    let descriptor = try FileDescriptor.open(path, .readOnly)
    var bytes = [UInt8](repeating: 0, count: 10)
    #expect(try bytes.withUnsafeMutableBytes { try descriptor.read(into: $0) } == 3)
    try descriptor.close()
    try target.close()
    #expect(access(path.string, F_OK) != 0)
  }

  @Test func badPlacesAreErrors() throws {
    let tree = try makeTree()
    try tree.write([], to: "/file")
    func code(_ body: () throws -> Void) -> TemporaryFileError.Code? {
      do { try body() } catch { return (error as? TemporaryFileError)?.code }
      return nil
    }
    #expect(code { _ = try tree.namedTemporaryFile(in: "/nowhere") } == .notFound)
    #expect(code { _ = try tree.namedTemporaryFile(in: "/file") } == .notADirectory)
    #expect(code { _ = try tree.spooledTemporaryFile(prefix: "a/b") } == .invalidName)
    #expect(code { _ = try tree.temporaryFile(in: "/nowhere") } == .notFound)
    #expect(try names(tree) == ["file"])
  }

  @Test func withLifetimeCloseAFileEndsOnce() throws {
    let tree = try makeTree(lifetime: .close)
    let inodes = tree.usage.inodes
    var file = try tree.namedTemporaryFile(cleanup: .onScopeExit)
    try file.write([1])
    try file.close()
    #expect(try names(tree) == [])
    #expect(tree.usage.inodes == inodes)
  }

  @Test func aDirectoryGoesWithEverythingInIt() throws {
    let tree = try makeTree()
    let inodes = tree.usage.inodes
    do {
      var directory = try tree.temporaryDirectory(prefix: "d-")
      let path = directory.path
      try tree.createDirectory(at: path.appending("a/b/c"), withIntermediateDirectories: true)
      try tree.write([1], to: path.appending("a/b/file"))
      try tree.createSymbolicLink(at: path.appending("a/link"), to: "/")
      try tree.setPermissions([], of: path.appending("a/b"))
      try directory.cleanup()
      try directory.cleanup()
      #expect(try names(tree) == [])
    }
    do { _ = try tree.temporaryDirectory() }
    #expect(try names(tree) == [])
    #expect(tree.usage.inodes == inodes)
  }

  @Test func aDirectoryThatTookTheNameStays() throws {
    let tree = try makeTree()
    var directory = try tree.temporaryDirectory()
    try tree.remove(directory.path)
    try tree.createDirectory(at: directory.path)
    try directory.cleanup()
    #expect(try names(tree).count == 1)
  }

  @Test func aKeptDirectoryStays() throws {
    let tree = try makeTree()
    do {
      var directory = try tree.temporaryDirectory()
      _ = try directory.keep()
    }
    #expect(try names(tree).count == 1)
  }
}
