import CHostCalls
import Foundation
import SpoolStorage
import SystemPackage
import Testing

@testable import SpoolFS

extension MountSuites {
  @Suite(.serialized) struct MountNamespaceTests {
    @Test(arguments: cacheModes) func unnamedFileGetsAName(_ cache: MountOptions.Cache) async throws {
      try await withMount(options: .init(cache: cache)) { tree in
        let file = try HostFile(unnamedIn: tree.path)
        try file.write(pattern(5000), at: 0)
        #expect(try file.status.link_count == 0)
        #expect(try Host.names(tree.path) == [])
        let flags = Int32(0x400)  // AT_SYMLINK_FOLLOW
        #expect(linkat(AT_FDCWD, "/proc/self/fd/\(file.descriptor)", AT_FDCWD, tree("a"), flags) == 0)
        #expect(try file.status.link_count == 1)
        #expect(try Host.contents(tree("a")) == pattern(5000))
      }
    }

    @Test func unnamedFileEndsWithItsDescriptor() async throws {
      try await withMount { tree in
        let before = tree.files.statistics().freeInodes
        var file: HostFile? = try HostFile(unnamedIn: tree.path)
        try file?.write(pattern(100_000), at: 0)
        #expect(tree.files.statistics().freeInodes == before - 1)
        file = nil
        try eventually { tree.files.statistics().freeInodes == before }
        #expect(tree.files.store.usage.dataBytes == 0)
      }
    }

    @Test func removedFilesAreForgotten() async throws {
      try await withMount { tree in
        let before = tree.files.statistics().freeInodes
        for index in 0..<200 {
          try Host.create(tree("f\(index)"), pattern(10))
          try Host.unlink(tree("f\(index)"))
        }
        try eventually { tree.files.statistics().freeInodes == before }
      }
    }

    @Test func renameFlags() async throws {
      try await withMount { tree in
        let (noReplace, exchange): (UInt32, UInt32) = (1, 2)
        try Host.create(tree("a"), [1])
        try Host.create(tree("b"), [2])
        #expect(failure { try Host.rename(tree("a"), tree("b"), flags: noReplace) } == .fileExists)
        try Host.rename(tree("a"), tree("c"), flags: noReplace)
        try Host.rename(tree("b"), tree("c"), flags: exchange)
        #expect(try Host.contents(tree("b")) == [1])
        #expect(try Host.contents(tree("c")) == [2])
        try Host.makeDirectory(tree("d"))
        try Host.rename(tree("d"), tree("b"), flags: exchange)
        #expect(try Host.contents(tree("d")) == [1])
        #expect(try Host.names(tree("b")) == [])
        #expect(failure { try Host.rename(tree("a"), tree("b"), flags: exchange) } == .noSuchFileOrDirectory)
      }
    }

    @Test func hardLinks() async throws {
      try await withMount { tree in
        try Host.create(tree("a"), [1])
        try Host.makeDirectory(tree("d"))
        try Host.link(tree("a"), tree("d/b"))
        #expect(try Host.status(tree("a")).link_count == 2)
        #expect(try Host.status(tree("a")).inode == Host.status(tree("d/b")).inode)
        try HostFile(tree("d/b")).write([9], at: 0)
        #expect(try Host.contents(tree("a")) == [9])
        try Host.unlink(tree("a"))
        #expect(try Host.status(tree("d/b")).link_count == 1)
        #expect(try Host.contents(tree("d/b")) == [9])
        #expect(failure { try Host.link(tree("d"), tree("e")) } == .notPermitted)
      }
    }

    @Test func namesAreBytes() async throws {
      try await withMount { tree in
        // Two spellings of one letter, and a name that is not UTF-8.
        let names: [[UInt8]] = [Array("\u{e9}".utf8), Array("e\u{301}".utf8), [0xff, 0xfe]]
        for (index, name) in names.enumerated() {
          let path = Array(tree("").utf8) + name + [0]
          let file = path.withUnsafeBytes { open($0.bindMemory(to: CChar.self).baseAddress!, O_CREAT | O_RDWR, 0o600) }
          #expect(file >= 0)
          #expect(write(file, [UInt8(index)], 1) == 1)
          close(file)
        }
        #expect(try Host.names(tree.path).count == 3)
        #expect(try tree.files.entries().count == 3)
        #expect(failure { try Host.create(tree(String(repeating: "x", count: 256))) } == .fileNameTooLong)
        try Host.create(tree(String(repeating: "x", count: 255)))
      }
    }

    @Test func removedDirectoryThatIsOpen() async throws {
      try await withMount { tree in
        try Host.makeDirectory(tree("d"))
        let directory = try HostFile(tree("d"), O_RDONLY | O_DIRECTORY)
        try Host.removeDirectory(tree("d"))
        #expect(openat(directory.descriptor, "a", O_CREAT | O_RDWR, 0o600) == -1)
        #expect(errno == ENOENT)
      }
    }

    @Test func statusFiles() async throws {
      try await withMount { tree in
        #expect(try Host.names(tree.path) == [])
        try Host.create(tree("a"), pattern(1000))
        let first = try Host.contents(tree(".spoolfs/stats"))
        let object = try #require(try JSONSerialization.jsonObject(with: Data(first)) as? [String: Any])
        let mount = try #require(object["mount"] as? [String: Any])
        let requests = try #require(mount["requests"] as? [String: Any])
        #expect(requests["MKNOD"] as? Int == 1)
        // Fresh at each open, although open is not a request.
        try Host.create(tree("b"), pattern(1000))
        let second = try Host.contents(tree(".spoolfs/stats"))
        #expect(first != second)
        #expect(
          try String(decoding: Host.contents(tree(".spoolfs/files")), as: UTF8.self).split(separator: "\n").count == 2)
        #expect(try Host.names(tree(".spoolfs")) == ["files", "stats"])
        #expect(failure { try Host.makeDirectory(tree(".spoolfs")) } == .fileExists)
        #expect(failure { try Host.create(tree(".spoolfs/x")) } == .notPermitted)
      }
    }

    // MARK: - Listing

    @Test func listingOfManyEntries() async throws {
      try await withMount { tree in
        let expected = (0..<3000).map { "entry-\($0)" }
        for name in expected { try tree.files.write([UInt8](), to: FilePath(name)) }
        #expect(try Host.names(tree.path) == expected.sorted())
        #expect(try Host.names(tree.path) == expected.sorted())
      }
    }

    /// POSIX: what is neither added nor removed meanwhile is listed exactly once.
    @Test func listingUnderConcurrentChange() async throws {
      let tree = try await onThread { try MountedTree() }
      let stable = Set((0..<300).map { "stable-\($0)" })
      try await onThread { for name in stable { try Host.create(tree(name)) } }
      try await onThreads(4) { index in
        for _ in 0..<40 {
          if index < 2 {
            for number in 0..<10 { try Host.create(tree("t\(index)-\(number)")) }
            for number in 0..<10 { try Host.unlink(tree("t\(index)-\(number)")) }
          } else {
            let names = try Host.names(tree.path)
            // What is removed and made again may be listed twice.
            #expect(names.filter(stable.contains).count == stable.count)
            #expect(stable.isSubset(of: names))
          }
        }
      }
      try await onThread { tree.end() }
    }

    @Test func seekingInAListing() async throws {
      try await withMount { tree in
        for index in 0..<100 { try Host.create(tree("f\(index)")) }
        let directory = try #require(opendir(tree.path))
        defer { closedir(directory) }
        for _ in 0..<50 { _ = readdir(directory) }
        let place = telldir(directory)
        let next = try #require(readdir(directory)).pointee.name
        while readdir(directory) != nil {}
        seekdir(directory, place)
        #expect(try #require(readdir(directory)).pointee.name == next)
        rewinddir(directory)
        var count = 0
        while readdir(directory) != nil { count += 1 }
        #expect(count == 102)
      }
    }

    // MARK: - Attributes

    @Test(arguments: cacheModes) func timesModesOwners(_ cache: MountOptions.Cache) async throws {
      try await withMount(options: .init(cache: cache)) { tree in
        try Host.create(tree("a"), [1])
        let second: Int64 = 1_000_000_000
        try check(host_set_times(tree("a"), 5 * second + 123_456_789, 7 * second + 987_654_321))
        let status = try Host.status(tree("a"))
        #expect(status.accessed == 5 * second + 123_456_789)
        #expect(status.modified == 7 * second + 987_654_321)
        try Host.changeMode(tree("a"), 0o4711)
        try Host.changeOwner(tree("a"), 1000, 1001)
        let changed = try Host.status(tree("a"))
        // chown(2) takes the set-user bit away.
        #expect(changed.mode & 0o7777 == 0o711)
        #expect(changed.user == 1000 && changed.group == 1001)
        #expect(changed.modified == 7 * second + 987_654_321)
        // Written and remounted in mind: what the tree has is what the kernel shows.
        let inTree = try tree.files.metadata(of: "a")
        #expect(inTree.modified == Timestamp(seconds: 7, nanoseconds: 987_654_321))
      }
    }

    @Test(arguments: cacheModes) func writeMovesTheModificationTime(_ cache: MountOptions.Cache) async throws {
      try await withMount(options: .init(cache: cache)) { tree in
        try Host.create(tree("a"), [1])
        try check(host_set_times(tree("a"), 0, 0))
        let file = try HostFile(tree("a"))
        try file.write([2], at: 0)
        #expect(try Host.status(tree("a")).modified > 0)
        try file.sync()
        #expect(try tree.files.metadata(of: "a").modified > Timestamp(seconds: 0))
      }
    }
  }
}
