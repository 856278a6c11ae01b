import Glibc
import SpoolStorage
import SystemPackage
import TestSupport
import Testing

@testable import SpoolFS

@Suite("A million files", .serialized, .enabled(if: !isSanitized, "measures memory"))
struct ScaleTests {
  /// Bytes that this process has in anonymous memory (RssAnon of proc(5)).
  private func residentBytes() throws -> Int {
    let file = try FileDescriptor.open("/proc/self/status", .readOnly)
    defer { try? file.close() }
    let text = String(
      unsafeUninitializedCapacity: 8192,
      initializingUTF8With: { (try? file.read(into: UnsafeMutableRawBufferPointer($0))) ?? 0 })
    let line = try #require(text.split(separator: "\n").first { $0.hasPrefix("RssAnon:") })
    return try #require(Int(line.split(whereSeparator: { $0 == " " || $0 == "\t" })[1])) * 1024
  }

  @Test("empty files take less than 400 bytes each, known to the kernel and all")
  func emptyFiles() throws {
    let directories = 10
    let filesEach = 100_000
    let tree = try makeTree(inodeLimit: 0)
    let before = try residentBytes()
    for number in 0..<directories {
      let directory = try tree.makeDirectory("directory-\(number)", in: tree.root)
      for file in 0..<filesEach { tree.remember(try tree.create("file-\(file).tmp", in: directory)) }
    }
    let each = (try residentBytes() - before) / (directories * filesEach)
    #expect(each < 400, "\(each) bytes for each empty file")
    #expect(tree.quota.count == directories * filesEach + directories + 1)

    for number in 0..<directories {
      let directory = try tree.lookup("directory-\(number)", in: tree.root)
      #expect(try tree.names(in: directory).count == filesEach)
    }
    try tree.removeAll("directory-0")
    #expect(
      tree.quota.count == (directories - 1) * filesEach + directories + filesEach, "the kernel knows them still")
    tree.table.removeAll()
    #expect(tree.quota.count == (directories - 1) * filesEach + directories)
  }
}

@Suite("Many threads on one tree")
struct ConcurrencyTests {
  /// Runs `body` on `count` threads at once and waits for them.
  private func onThreads(_ count: Int, _ body: @escaping @Sendable (Int) -> Void) async {
    await withTaskGroup(of: Void.self) { group in
      for number in 0..<count { group.addTask { body(number) } }
    }
  }

  @Test("renames between directories, listings and removals leave a consistent tree")
  func renames() async throws {
    let tree = try makeTree()
    let names = (0..<6).map { "d\($0)" }
    for name in names {
      for inner in names {
        try tree.createDirectory(at: FilePath("\(name)/\(inner)"), withIntermediateDirectories: true)
      }
    }
    await onThreads(4) { number in
      var random = Int(number) * 7919 + 1
      func pick() -> String {
        random = (random &* 1_103_515_245 &+ 12345) & 0x7fff_ffff
        let name = names[(random >> 8) % names.count]
        return (random >> 4) % 3 == 0 ? name : "\(name)/\(names[(random >> 16) % names.count])"
      }
      for step in 0..<3000 {
        // What fails is the tree's business; that it neither crashes nor blocks nor loses an inode is the test's.
        switch step % 5 {
        case 0: try? tree.rename(FilePath(pick()), to: FilePath(pick()), .exchanging)
        case 1: try? tree.rename(FilePath(pick()), to: FilePath(pick() + "/f\(number)"))
        case 2: try? tree.write([1, 2, 3], to: FilePath(pick() + "/f\(number)"))
        case 3: _ = try? tree.entries(of: FilePath(pick()))
        default: try? tree.remove(FilePath(pick() + "/f\(number)"))
        }
      }
    }
    try checkLinkCounts(tree, tree.root)
    for entry in try tree.entries() { try tree.removeAll(FilePath(root: "/", [entry.name])) }
    #expect(tree.quota.count == 1, "an inode was lost")
    #expect(tree.attributes(of: tree.root).linkCount == 2)
    #expect(tree.store.usage.dataBytes == 0)
  }

  private func checkLinkCounts(_ tree: FileSystem, _ directory: Inode) throws {
    var children: [Inode] = []
    try tree.enumerate(directory, after: 2, by: rootCaller) { _, inode, _ in
      children.append(inode)
      return true
    }
    let directories = children.filter { $0.kind == .directory }
    #expect(tree.attributes(of: directory).linkCount == UInt32(directories.count + 2))
    for child in directories {
      #expect(child.parent === directory)
      try checkLinkCounts(tree, child)
    }
  }

  @Test("readers and writers of one file, while names come and go")
  func oneFile() async throws {
    let tree = try makeTree(threshold: 200_000)
    let file = try tree.open("f", .readWrite, options: .create)
    try file.write([UInt8](repeating: 0, count: 4096), at: 0)
    await onThreads(4) { number in
      let bytes = [UInt8](repeating: UInt8(number + 1), count: 4096)
      for step in 0..<500 {
        if number % 2 == 0 {
          try? tree.write(bytes, to: FilePath("g\(number)"))
          try? tree.rename(FilePath("g\(number)"), to: "f")
        } else if let read = try? tree.contents(of: "f"), !read.isEmpty {
          #expect(Set(read).count == 1, "a torn write at step \(step)")
        }
      }
    }
    #expect(file.metadata.linkCount == 0)
    #expect(file.size == 4096)
  }
}
