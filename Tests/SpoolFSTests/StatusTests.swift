import SpoolStorage
import SystemPackage
import Testing

@testable import SpoolFS

@Suite("Status files")
struct StatusTests {
  @Test("are there, are not listed, and cannot be made, changed or removed")
  func hidden() throws {
    let tree = try makeTree()
    #expect(try tree.names(in: tree.root).isEmpty)
    #expect(try tree.entries(of: ".spoolfs").map { String(decoding: $0.bytes, as: UTF8.self) } == ["stats", "files"])
    #expect(errno { try tree.createDirectory(at: ".spoolfs") } == .notPermitted)
    #expect(errno { try tree.write([], to: ".spoolfs/mine") } == .notPermitted)
    #expect(errno { try tree.write([1], to: ".spoolfs/stats") } == .notPermitted)
    #expect(errno { try tree.remove(".spoolfs") } == .notPermitted)
    #expect(errno { try tree.remove(".spoolfs/stats") } == .notPermitted)
    try tree.write([1], to: "f")
    #expect(errno { try tree.rename("f", to: ".spoolfs") } == .notPermitted)
    #expect(errno { try tree.rename(".spoolfs", to: "g") } == .notPermitted)
    try tree.createDirectory(at: "d")
    try tree.createDirectory(at: "d/.spoolfs")
  }

  @Test("tell what is in memory and on disk, at the moment of the lookup")
  func numbers() throws {
    let tree = try makeTree(threshold: 10_000)
    try tree.write(Array(repeating: 1, count: 5000), to: "small")
    try tree.createDirectory(at: "d")
    try tree.write(Array(repeating: 1, count: 20_000), to: "d/large")
    let stats = String(decoding: try tree.contents(of: ".spoolfs/stats"), as: UTF8.self)
    #expect(stats.contains("\"disk_bytes\":20480,"))
    #expect(stats.contains("\"spilled_files\":1,"))
    #expect(stats.contains("\"threshold\":10000,"))
    let files = String(decoding: try tree.contents(of: ".spoolfs/files"), as: UTF8.self).split(separator: "\n")
    #expect(files.count == 2)
    #expect(files[0].hasPrefix("{\"path\":\"small\",\"size\":5000,\"memory\":"))
    #expect(files[1].hasPrefix("{\"path\":\"d/large\",\"size\":20000,\"memory\":0,\"disk\":20480,\"pid\":"))
    try tree.remove("d/large")
    #expect(String(decoding: try tree.contents(of: ".spoolfs/stats"), as: UTF8.self).contains("\"disk_bytes\":0,"))
  }

  @Test("the listing has what its reader may find himself, and for root everything")
  func listingOfAReader() throws {
    let tree = try makeTree()
    for (name, mode, user, group) in [
      ("open", 0o755, 0, 0), ("private", 0o700, 0, 0), ("own", 0o700, 7, 0), ("group", 0o750, 0, 8),
      ("closed", 0o711, 0, 0),
      ("others", 0o707, 0, 8),
    ] {
      try tree.createDirectory(at: FilePath(name))
      try tree.createDirectory(at: FilePath("\(name)/below"))
      try tree.write([1], to: FilePath("\(name)/below/f"))
      let changes = AttributeChanges(mode: UInt32(mode), user: UInt32(user), group: UInt32(group))
      let directory = try tree.lookup(name, in: tree.root)
      _ = try tree.setAttributes(changes, of: directory, by: rootCaller)
      let below = try tree.lookup("below", in: directory)
      _ = try tree.setAttributes(AttributeChanges(mode: 0o755), of: below, by: rootCaller)
    }
    _ = try tree.setAttributes(AttributeChanges(mode: 0o755), of: tree.root, by: rootCaller)
    func listed(_ caller: Caller) throws -> Set<String> {
      let inode = try tree.lookup("files", in: tree.statusDirectory, by: caller)
      guard case .snapshot(let text) = inode.payload else { return [] }
      let lines = String(decoding: text, as: UTF8.self).split(separator: "\n")
      return Set(lines.map { String($0.split(separator: "\"")[3].prefix { $0 != "/" }) })
    }
    let member = Caller.local(user: 7, group: 7, supplementaryGroups: [8])
    #expect(try listed(.local(user: 7, group: 7)) == ["open", "own", "others"])
    #expect(try listed(member) == ["open", "own", "group"])
    #expect(try listed(rootCaller).count == 6)
    // Requests through a mount are checked by the kernel, but for this.
    #expect(try listed(.kernel(user: 9, group: 8, process: 0, stampsFiles: false)) == ["open", "group"])
    #expect(try listed(.kernel(user: 0, group: 0, process: 0, stampsFiles: false)).count == 6)
  }

  @Test("a snapshot is an inode of its own, and costs none of the quota")
  func snapshots() throws {
    let tree = try makeTree()
    let first = try tree.lookup("stats", in: tree.statusDirectory)
    let second = try tree.lookup("stats", in: tree.statusDirectory)
    #expect(first.id != second.id)
    #expect(first.isSnapshot)
    #expect(tree.quota.count == 1)
  }

  @Test("status files keep their inode numbers, which no other file has")
  func inodeNumbers() throws {
    let tree = try makeTree()
    try tree.write([1], to: "f")
    for _ in 0..<3 {
      let numbers = try [".spoolfs", ".spoolfs/stats", ".spoolfs/files", "f"].map {
        try tree.metadata(of: FilePath($0)).inode
      }
      #expect(numbers == [2, 3, 4, 5])
    }
    let entries: [DirectoryEntry] = try tree.entries(of: ".spoolfs")
    #expect(entries.map(\.inode) == [3, 4])
  }

  @Test("sizes close to the largest number are told as they are")
  func hugeSizes() throws {
    let huge = Int64.max - 5000
    let tree = try FileSystem(
      .init(storage: .init(memoryBudget: huge, spillCapacity: huge, sizeLimit: huge)))
    try tree.write([1], to: "f")
    let stats = String(decoding: try tree.contents(of: ".spoolfs/stats"), as: UTF8.self)
    #expect(stats.contains("\"size_limit\":\(huge),"))
    #expect(stats.contains("\"total_blocks\":\(huge / 4096),"))
    #expect(tree.usage.capacity == huge / 4096 * 4096)
  }

  @Test("one inode is the root, as with tmpfs's nr_inodes=1")
  func oneInode() throws {
    let tree = try makeTree(inodeLimit: 1)
    #expect(errno { try tree.write([], to: "f") } == .noSpace)
    #expect(errno { try tree.createDirectory(at: "d") } == .noSpace)
    #expect(try tree.contents(of: ".spoolfs/files").isEmpty)
  }

  @Test("JSON strings are escaped, invalid UTF-8 as lone surrogates")
  func json() {
    var object = JSONObject()
    object["a\"\\"] = .string([UInt8(ascii: "\n"), 0xff, 0xc3, 0xa9, UInt8(ascii: "x"), 0xf0, 0x9f, 0x98, 0x80, 0xc3])
    object["n"] = .number(-1)
    object["o"] = .object(JSONObject())
    object["z"] = .null
    #expect(object.json == #"{"a\"\\":"\u000a\udcff\#u{e9}x\#u{1f600}\udcc3","n":-1,"o":{},"z":null}"#)
  }

  @Test("limits may be as large as numbers go")
  func largestLimits() throws {
    var storage = SpoolConfiguration()
    storage.memoryBudget = .max
    storage.spillCapacity = .max
    let tree = try FileSystem(FileSystem.Configuration(storage: storage))
    #expect(tree.usage.capacity > 1 << 60)
    #expect(tree.usage.free > 1 << 60)
  }

  @Test("free space is never zero on an empty filesystem, and is zero on a full one")
  func space() throws {
    let tree = try makeTree(sizeLimit: 40_960)
    #expect(tree.usage.capacity == 40_960)
    #expect(tree.usage.free == 40_960)
    try tree.write(Array(repeating: 1, count: 40_960), to: "f")
    #expect(tree.usage.free == 0)
    #expect(errno { try tree.write([1], to: "g") } == .noSpace)
    try tree.remove("f")
    try tree.write([1], to: "g")
    let unlimited = try makeTree()
    #expect(unlimited.usage.free > 1 << 20)
  }
}

@Suite("Files that end with their last descriptor")
struct CloseLifetimeTests {
  @Test("all names go at the last close, none before")
  func lastClose() throws {
    let tree = try makeTree(lifetime: .close)
    try tree.createDirectory(at: "d")
    do {
      let first = try tree.open("f", .readWrite, options: .create)
      do {
        let second = try tree.open("f")
        try tree.createHardLink(at: "d/g", to: "f")
        try tree.rename("f", to: "h")
        second.close()
      }
      #expect(tree.exists("h"))
      #expect(tree.exists("d/g"))
      first.close()
    }
    #expect(try tree.names(in: tree.root) == ["d"])
    #expect(try tree.entries(of: "d").isEmpty)
  }

  @Test("what cannot be written whole leaves no new file behind")
  func failedWrite() throws {
    let tree = try makeTree(sizeLimit: 4096)
    #expect(errno { try tree.write(Array(repeating: 1, count: 5000), to: "f") } == .noSpace)
    #expect(try tree.names(in: tree.root).isEmpty)
    try tree.write([1], to: "g")
    #expect(errno { try tree.write(Array(repeating: 1, count: 5000), to: "g") } == .noSpace)
    #expect(try tree.contents(of: "g") == [1])
  }

  @Test("a name that went to another file meanwhile stays")
  func renamedOver() throws {
    let tree = try makeTree(lifetime: .close)
    let first = try tree.open("f", .readWrite, options: .create)
    let second = try tree.open("g", .readWrite, options: .create)
    try tree.rename("g", to: "f")
    first.close()
    #expect(tree.exists("f"))
    second.close()
    #expect(!tree.exists("f"))
  }
}
