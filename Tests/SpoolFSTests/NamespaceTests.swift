import Foundation
import SpoolStorage
import SystemPackage
import Testing

@testable import SpoolFS

@Suite("Names")
struct NamespaceTests {
  @Test("a name is bytes: canonically equal and invalid UTF-8 names stay apart")
  func namesAreBytes() throws {
    let tree = try makeTree()
    let names: [[UInt8]] = [Array("\u{e9}".utf8), Array("e\u{301}".utf8), [0xff, 0xfe], [0xff], [0x80]]
    for name in names {
      _ = try name.withUnsafeBytes { try tree.create($0, in: tree.root, mode: 0o600, exclusive: true, by: rootCaller) }
    }
    #expect(try tree.entries().map { $0.bytes } == names)
  }

  @Test("a name of 255 bytes fits, one of 256 is ENAMETOOLONG")
  func nameLength() throws {
    let tree = try makeTree()
    try tree.create(String(repeating: "n", count: 255), in: tree.root)
    #expect(errno { try tree.create(String(repeating: "n", count: 256), in: tree.root) } == .fileNameTooLong)
    #expect(errno { try tree.lookup(String(repeating: "n", count: 256), in: tree.root) } == .fileNameTooLong)
  }

  @Test("a removed directory takes no entries")
  func removedDirectory() throws {
    let tree = try makeTree()
    let directory = try tree.makeDirectory("d", in: tree.root)
    try tree.remove("d")
    #expect(errno { try tree.create("f", in: directory) } == .noSuchFileOrDirectory)
    #expect(errno { try tree.createUnnamed(in: directory, mode: 0o600, by: rootCaller) } == .noSuchFileOrDirectory)
    #expect(tree.attributes(of: directory).linkCount == 0)
  }

  @Test("links are counted, and EMLINK ends them")
  func linkCounts() throws {
    let tree = try makeTree()
    let file = try tree.create("f", in: tree.root)
    try tree.createHardLink(at: "g", to: "f")
    #expect(try tree.metadata(of: "g").linkCount == 2)
    file.lock.withLock { file.linkCount = .max }
    #expect(errno { try tree.createHardLink(at: "h", to: "f") } == .tooManyLinks)
    tree.root.lock.withLock { tree.root.linkCount = .max }
    #expect(errno { try tree.makeDirectory("d", in: tree.root) } == .tooManyLinks)
  }

  @Test("directories are neither linked nor moved into themselves")
  func directories() throws {
    let tree = try makeTree()
    try tree.createDirectory(at: "a/b/c", withIntermediateDirectories: true)
    #expect(errno { try tree.createHardLink(at: "x", to: "a") } == .notPermitted)
    #expect(errno { try tree.rename("a", to: "a/b/c/d") } == .invalidArgument)
    #expect(errno { try tree.rename("a", to: "a/b", .exchanging) } == .invalidArgument)
    #expect(errno { try tree.rename("a/b/c", to: "a") } == .directoryNotEmpty)
    #expect(try tree.metadata(of: "a").linkCount == 3)
  }

  @Test("a directory that moves takes its parent's link with it")
  func movedDirectory() throws {
    let tree = try makeTree()
    try tree.createDirectory(at: "a/d", withIntermediateDirectories: true)
    try tree.createDirectory(at: "b")
    try tree.rename("a/d", to: "b/d")
    #expect(try tree.metadata(of: "a").linkCount == 2)
    #expect(try tree.metadata(of: "b").linkCount == 3)
    let moved = try tree.resolve("b/d", by: rootCaller)
    #expect(try tree.resolve("b/d/..", by: rootCaller) === tree.resolve("b", by: rootCaller))
    #expect(moved.parent === (try tree.resolve("b", by: rootCaller)))
  }

  @Test("a directory exchanged with a file moves the link count")
  func exchange() throws {
    let tree = try makeTree()
    try tree.createDirectory(at: "a/d", withIntermediateDirectories: true)
    try tree.createDirectory(at: "b")
    try tree.write([1], to: "b/f")
    try tree.rename("a/d", to: "b/f", .exchanging)
    #expect(try tree.metadata(of: "a/d").kind == .regular)
    #expect(try tree.metadata(of: "b/f").kind == .directory)
    #expect(try tree.metadata(of: "a").linkCount == 2)
    #expect(try tree.metadata(of: "b").linkCount == 3)
  }

  @Test("the inode limit is ENOSPC, and a removed file makes room")
  func inodeLimit() throws {
    let tree = try makeTree(inodeLimit: 4)  // the root is one of them
    for name in ["a", "b", "c"] { try tree.create(name, in: tree.root) }
    #expect(errno { try tree.create("d", in: tree.root) } == .noSpace)
    #expect(try tree.names(in: tree.root) == ["c", "b", "a"])
    #expect(tree.statistics().freeInodes == 0)
    try tree.remove("b")
    try tree.create("d", in: tree.root)
  }

  @Test("a further name counts as an inode, as on tmpfs")
  func linksCount() throws {
    let tree = try makeTree(inodeLimit: 4)
    try tree.write([1], to: "a")
    try tree.createHardLink(at: "b", to: "a")
    try tree.createHardLink(at: "c", to: "a")
    #expect(errno { try tree.createHardLink(at: "d", to: "a") } == .noSpace)
    try tree.rename("b", to: "c")  // two names of one file: nothing happens
    #expect(tree.quota.count == 4)
    try tree.remove("c")
    try tree.write([2], to: "e")
    try tree.rename("e", to: "b")
    #expect(tree.quota.count == 3)
    try tree.remove("a")
    try tree.remove("b")
    #expect(tree.quota.count == 1)
  }

  @Test("a removed file gets no new name, one made with O_TMPFILE does")
  func linkWithoutName() throws {
    let tree = try makeTree()
    let file = try tree.create("f", in: tree.root)
    try tree.remove("f")
    func link(_ inode: Inode) throws {
      try withName("g") { try tree.link(inode, as: $0, in: tree.root, by: rootCaller) }
    }
    #expect(errno { try link(file) } == .noSuchFileOrDirectory)
    try link(tree.createUnnamed(in: tree.root, mode: 0o600, by: rootCaller))
    #expect(try tree.metadata(of: "g").linkCount == 1)
    try tree.remove("g")
  }

  private func write(_ count: Int, to file: Inode, in tree: FileSystem) throws {
    try Array(repeating: UInt8(1), count: count).withUnsafeBytes {
      _ = try tree.write(file, $0, at: 0, by: rootCaller)
    }
  }

  @Test("space of a file without a name that the kernel still knows is waited for", arguments: [false, true])
  func reclaim(isUnnamed: Bool) throws {
    let tree = try makeTree(sizeLimit: 8192)
    var file: Inode? =
      try isUnnamed
      ? tree.createUnnamed(in: tree.root, mode: 0o600, by: rootCaller)
      : tree.create("f", in: tree.root)
    try write(8192, to: file!, in: tree)
    tree.remember(file!)
    let id = file!.id
    file = nil
    if !isUnnamed { try tree.remove("f") }
    #expect(tree.quota.orphanCount == 1)
    Thread.detachNewThread { tree.forget(id, 1) }
    try tree.write(Array(repeating: 2, count: 8192), to: "g")
    #expect(tree.quota.orphanCount == 0)
  }

  @Test("a file without a name that runs out of space gets the error, and with a name it is as any other")
  func noReclaim() throws {
    let tree = try makeTree(sizeLimit: 8192)
    let file = try tree.createUnnamed(in: tree.root, mode: 0o600, by: rootCaller)
    #expect(tree.quota.orphanCount == 1)
    #expect(errno { try write(8193, to: file, in: tree) } == .noSpace)
    func link() throws {
      try withName("f") { try tree.link(file, as: $0, in: tree.root, by: rootCaller) }
    }
    try link()
    #expect(tree.quota.orphanCount == 0)
    try tree.remove("f")
    #expect(tree.quota.orphanCount == 1)
    #expect(errno { try link() } == .noSuchFileOrDirectory)
  }

  @Test("an unlinked file lives while somebody holds it, and its space is free afterwards")
  func unlinkedFile() throws {
    let tree = try makeTree()
    let before = tree.store.usage.dataBytes
    do {
      let file = try tree.open("f", .readWrite, options: .create)
      try file.write(Array(repeating: 7, count: 100_000), at: 0)
      try tree.remove("f")
      #expect(try file.read(count: 3, at: 99_997) == [7, 7, 7])
      #expect(tree.store.usage.dataBytes > before)
    }
    #expect(tree.store.usage.dataBytes == before)
    #expect(tree.quota.count == 1)
  }

  @Test("the kernel's lookups keep an inode too")
  func lookups() throws {
    let tree = try makeTree()
    var id: UInt64 = 0
    do {
      let file = try tree.create("f", in: tree.root)
      tree.remember(file)
      tree.remember(file)
      id = file.id
    }
    try tree.remove("f")
    tree.forget(id, 1)
    #expect(tree.inode(id) != nil)
    tree.forget(id, 1)
    #expect(tree.inode(id) == nil)
    #expect(tree.quota.count == 1)
    #expect(try tree.create("g", in: tree.root).id != id)
  }

  @Test("the root outlives whatever the kernel forgets")
  func rootStays() throws {
    let tree = try makeTree()
    tree.forget(FileSystem.rootID, 1 << 40)
    #expect(tree.inode(FileSystem.rootID) === tree.root)
  }

  @Test("removed directories end with the last one below them, however many")
  func deepRemovedDirectories() throws {
    weak var top: Inode?
    do {
      let tree = try makeTree()
      var chain = [tree.root]
      for _ in 0..<50_000 { chain.append(try tree.makeDirectory("d", in: chain[chain.count - 1])) }
      top = chain[1]
      var deepest = chain.last
      for parent in chain.dropLast().reversed() {
        try tree.removeDirectory(FileSystem.bytes(of: "d"), in: parent, by: rootCaller)
      }
      chain = []
      #expect(top != nil && deepest?.parent != nil)
      deepest = nil
      #expect(top == nil)
    }
  }

  @Test("directories end with their tree")
  func directoriesEnd() throws {
    weak var root: Inode?
    weak var inner: Inode?
    do {
      let tree = try makeTree()
      try tree.createDirectory(at: "a/b", withIntermediateDirectories: true)
      root = tree.root
      inner = try tree.resolve("a/b", by: rootCaller)
      #expect(root != nil && inner != nil)
    }
    #expect(root == nil && inner == nil)
  }

  @Test("a tree 50,000 directories deep ends without a deep recursion")
  func deepTree() throws {
    var tree: FileSystem? = try makeTree()
    var directory = try #require(tree).root
    for _ in 0..<50_000 { directory = try #require(tree).makeDirectory("d", in: directory) }
    directory = try #require(tree).root
    tree = nil
  }

  @Test("symbolic links are followed, 40 at most")
  func symbolicLinks() throws {
    let tree = try makeTree()
    try tree.createDirectory(at: "d")
    try tree.write([1, 2], to: "d/f")
    try tree.createSymbolicLink(at: "d/relative", to: "f")
    try tree.createSymbolicLink(at: "absolute", to: "/d/relative")
    #expect(try tree.contents(of: "absolute") == [1, 2])
    try tree.createSymbolicLink(at: "loop", to: "loop")
    #expect(errno { try tree.contents(of: "loop") } == .tooManySymbolicLinkLevels)
    try tree.createSymbolicLink(at: "dangling", to: "d/new")
    try tree.write([3], to: "dangling")
    #expect(try tree.contents(of: "d/new") == [3])
    #expect(
      errno { _ = try tree.open("dangling", .writeOnly, options: [.create, .exclusiveCreate]) } == .fileExists)
    #expect(try tree.destination(ofSymbolicLink: "absolute") == FilePath("/d/relative"))
  }

  @Test("removeAll takes a tree away and leaves what its links point to")
  func removeAll() throws {
    let tree = try makeTree()
    try tree.createDirectory(at: "keep")
    try tree.write([1], to: "keep/f")
    try tree.createDirectory(at: "a/b/c", withIntermediateDirectories: true)
    for number in 0..<50 { try tree.write([], to: FilePath("a/b/f\(number)")) }
    try tree.createSymbolicLink(at: "a/link", to: "/keep")
    try tree.removeAll("a")
    #expect(try tree.names(in: tree.root) == ["keep"])
    #expect(try tree.contents(of: "keep/f") == [1])
  }
}

@Suite("Listing a directory")
struct ListingTests {
  @Test("goes on after the cookie while entries come and go")
  func concurrentChange() throws {
    let tree = try makeTree()
    for number in 0..<1000 { try tree.create("f\(number)", in: tree.root) }
    var seen: [String] = []
    var cookie: UInt64 = 2
    while true {
      var part = 0
      try tree.enumerate(tree.root, after: cookie, by: rootCaller) { name, _, next in
        seen.append(String(decoding: name, as: UTF8.self))
        cookie = next
        part += 1
        return part < 10
      }
      if part == 0 { break }
      // Removes some that were seen, so that the slots are packed anew, and adds others.
      for name in seen.suffix(7) { try? tree.unlink(name, in: tree.root) }
      if seen.count < 500 { try tree.create("new\(seen.count)", in: tree.root) }
    }
    #expect(Set(seen).count == seen.count, "an entry was listed twice")
    for number in 0..<1000 { #expect(seen.contains("f\(number)")) }
  }

  @Test("an entry that is renamed over keeps the place of the one it replaced")
  func replaced() throws {
    let tree = try makeTree()
    for name in ["a", "b", "c"] { try tree.create(name, in: tree.root) }
    try tree.rename("c", to: "a")
    #expect(try tree.names(in: tree.root) == ["b", "a"])
  }

  @Test("what is made while it goes on is not met, so that it ends")
  func renamedOnTheWay() throws {
    let tree = try makeTree()
    for number in 0..<100 { try tree.create("f\(number)", in: tree.root) }
    var cookie: UInt64 = 0
    var met: [String] = []
    while met.count < 1000 {
      var next: String?
      try tree.enumerate(tree.root, after: cookie, by: rootCaller) { name, _, own in
        next = String(decoding: name, as: UTF8.self)
        cookie = own
        return false
      }
      guard let name = next else { break }
      met.append(name)
      if name.hasPrefix(".") { continue }
      try tree.rename(FilePath(name), to: FilePath(name + ".x"))
      try tree.create("new-" + name, in: tree.root)
    }
    #expect(met.count == 102 && Set(met).count == 102)
    #expect(try tree.entries().count == 200)
  }

  @Test("in process, entries are in the order they were made")
  func order() throws {
    let tree = try makeTree()
    for name in ["b", "a", "c"] { try tree.create(name, in: tree.root) }
    #expect(try tree.entries().map(\.name.string) == ["b", "a", "c"])
  }

  @Test("100,000 entries are found, listed once and removed")
  func large() throws {
    let tree = try makeTree()
    let count = 100_000
    for number in 0..<count { try tree.create("entry-\(number)", in: tree.root) }
    #expect(try tree.names(in: tree.root).count == count)
    #expect(tree.attributes(of: tree.root).size == Int64(count + 2) * 20)
    for number in stride(from: 0, to: count, by: 2) { try tree.unlink("entry-\(number)", in: tree.root) }
    #expect(try tree.names(in: tree.root).count == count / 2)
    for number in stride(from: 1, to: count, by: 2) { _ = try tree.lookup("entry-\(number)", in: tree.root) }
    for number in stride(from: 1, to: count, by: 2) { try tree.unlink("entry-\(number)", in: tree.root) }
    #expect(try tree.names(in: tree.root).isEmpty)
  }
}
