import CHostCalls
import Foundation
import SystemPackage
import Testing

@testable import SpoolFS

extension MountSuites {
  /// The tree used in this process while it is mounted: each side sees the other's changes at once.
  @Suite(.serialized) struct InProcessTests {
    // MARK: - Process to mount

    @Test func newFileReplacesAnAbsentName() async throws {
      try await withMount { tree in
        // The kernel now remembers that there is none.
        #expect(!Host.exists(tree("a")))
        try tree.files.write(pattern(10), to: "a")
        #expect(try Host.contents(tree("a")) == pattern(10))
      }
    }

    @Test func temporaryFilesComeAndGo() async throws {
      try await withMount { tree in
        var named = try tree.files.namedTemporaryFile(suffix: ".txt")
        var spooled = try tree.files.spooledTemporaryFile(threshold: .bytes(4))
        let namedPath = tree(String(named.path.string.dropFirst()))
        let spooledPath = tree(String(spooled.path!.string.dropFirst()))
        try named.write(pattern(10))
        #expect(try Host.contents(namedPath) == pattern(10))
        try spooled.write(pattern(3))
        #expect(try Host.contents(spooledPath) == pattern(3))
        try spooled.write(pattern(10))
        #expect(spooled.isRolledOver == true)
        #expect(try Host.contents(spooledPath) == pattern(3) + pattern(10))
        try named.close()
        try spooled.close()
        #expect(!Host.exists(namedPath) && !Host.exists(spooledPath))
      }
    }

    @Test func contentsChangeUnderAnOpenReader() async throws {
      try await withMount { tree in
        try tree.files.write(pattern(10_000), to: "a")
        let reader = try HostFile(tree("a"), O_RDONLY)
        #expect(try reader.read(20_000) == pattern(10_000))
        let writer = try tree.files.open("a", .writeOnly)
        try writer.write([0xaa, 0xbb], at: 5000)
        #expect(try reader.read(2, at: 5000) == [0xaa, 0xbb])
        // Longer, shorter, and longer again over what was cut off.
        try writer.write([0xcc], at: 15_000)
        #expect(try reader.status.size == 15_001)
        #expect(try reader.read(3, at: 14_999) == [0, 0xcc])
        try writer.resize(to: 100)
        #expect(try reader.status.size == 100)
        #expect(try reader.read(20_000) == Array(pattern(100)))
        try writer.resize(to: 6000)
        #expect(try reader.read(2, at: 5000) == [0, 0])
        writer.close()
      }
    }

    @Test func growthIsSeenWithoutAskingForTheSize() async throws {
      try await withMount { tree in
        try tree.files.write([1], to: "a")
        let reader = try HostFile(tree("a"), O_RDONLY)
        #expect(try reader.read(10) == [1])
        for byte in UInt8(2)...20 {
          let writer = try tree.files.open("a", .writeOnly)
          try writer.write([byte], at: Int64(byte - 1))
          writer.close()
          #expect(try reader.read(30) == Array(1...byte))
        }
      }
    }

    /// A mapping in another process: one may not map files of one's own mount.
    @Test func mappingSeesChanges() async throws {
      let tree = try await onThread { try MountedTree() }
      let program = """
        import mmap, os, sys, time
        root = sys.argv[1]
        with open(root + '/a', 'rb') as file: mapped = mmap.mmap(file.fileno(), 8192, prot=mmap.PROT_READ)
        before = mapped[4100]
        os.mkdir(root + '/mapped')
        while not os.path.exists(root + '/changed'): time.sleep(0.001)
        print(before, mapped[4100])
        """
      try await onThread { try tree.files.write(pattern(8192), to: "a") }
      let output = try await onThreads(
        { try python(program, tree.path) },
        {
          try eventually { tree.files.exists("mapped") }
          let writer = try tree.files.open("a", .writeOnly)
          try writer.write([0x42], at: 4100)
          writer.close()
          try tree.files.createDirectory(at: "changed")
        })
      #expect(output == "\(pattern(8192)[4100]) \(0x42)")
      try await onThread { tree.end() }
    }

    @Test func removalAndRename() async throws {
      try await withMount { tree in
        try tree.files.write([1], to: "a")
        try tree.files.write([2], to: "b")
        #expect(try Host.contents(tree("a")) == [1])
        #expect(try Host.contents(tree("b")) == [2])
        #expect(!Host.exists(tree("c")))
        try tree.files.rename("a", to: "c")
        #expect(!Host.exists(tree("a")))
        #expect(try Host.contents(tree("c")) == [1])
        try tree.files.rename("c", to: "b")
        #expect(try Host.contents(tree("b")) == [1])
        try tree.files.remove("b")
        #expect(failure { _ = try Host.status(tree("b")) } == .noSuchFileOrDirectory)
      }
    }

    @Test func renameOfADirectoryThatIsInUse() async throws {
      try await withMount { tree in
        try tree.files.createDirectory(at: "d")
        try tree.files.write([1], to: "d/a")
        let file = try HostFile(tree("d/a"), O_RDONLY)
        try tree.files.rename("d", to: "e")
        #expect(try Host.contents(tree("e/a")) == [1])
        #expect(!Host.exists(tree("d/a")))
        #expect(try file.read(1) == [1])
      }
    }

    @Test func openFileOutlivesRemoval() async throws {
      try await withMount { tree in
        try tree.files.write(pattern(5000), to: "a")
        let file = try HostFile(tree("a"))
        try tree.files.remove("a")
        #expect(try file.read(5000) == pattern(5000))
        try file.write([1], at: 0)
        #expect(try file.read(1) == [1])
        #expect(try file.status.link_count == 0)
      }
    }

    @Test func attributes() async throws {
      try await withMount { tree in
        try tree.files.write([1], to: "a")
        #expect(try Host.status(tree("a")).mode & 0o777 == 0o600)
        try tree.files.setPermissions([.ownerRead], of: "a")
        #expect(try Host.status(tree("a")).mode & 0o777 == 0o400)
        try tree.files.setOwner(user: 12, group: 34, of: "a")
        let status = try Host.status(tree("a"))
        #expect(status.user == 12 && status.group == 34)
        try tree.files.createHardLink(at: "b", to: "a")
        #expect(try Host.status(tree("a")).link_count == 2)
        try tree.files.remove("a")
        #expect(try Host.status(tree("b")).link_count == 1)
      }
    }

    @Test func listingsFollow() async throws {
      try await withMount { tree in
        try tree.files.createDirectory(at: "d")
        try tree.files.write([1], to: "d/a")
        // Twice: the second time the kernel answers from its own cache.
        for _ in 0..<2 { #expect(try Host.names(tree("d")) == ["a"]) }
        let links = try Host.status(tree("d")).link_count
        // A name the kernel has never heard of.
        try tree.files.write([1], to: "d/b")
        #expect(try Host.names(tree("d")) == ["a", "b"])
        try tree.files.createDirectory(at: "d/c")
        #expect(try Host.names(tree("d")) == ["a", "b", "c"])
        #expect(try Host.status(tree("d")).link_count == links + 1)
        try tree.files.rename("d/b", to: "d/z")
        #expect(try Host.names(tree("d")) == ["a", "c", "z"])
        try tree.files.remove("d/a")
        #expect(try Host.names(tree("d")) == ["c", "z"])
      }
    }

    @Test func symbolicLinkThatIsReplaced() async throws {
      try await withMount { tree in
        try tree.files.createSymbolicLink(at: "l", to: "one")
        #expect(try Host.readlink(tree("l")) == "one")
        try tree.files.remove("l")
        try tree.files.createSymbolicLink(at: "l", to: "two")
        #expect(try Host.readlink(tree("l")) == "two")
      }
    }

    @Test func appendAfterGrowthInProcess() async throws {
      try await withMount { tree in
        let appender = try HostFile(tree("a"), O_CREAT | O_WRONLY | O_APPEND)
        try appender.append([1])
        let writer = try tree.files.open("a", .writeOnly)
        try writer.write([2, 2, 2], at: 1)
        writer.close()
        // The kernel takes the file for one byte long and would write over the first 2.
        try appender.append([3])
        #expect(try tree.files.contents(of: "a") == [1, 2, 2, 2, 3])
      }
    }

    // MARK: - Mount to process

    @Test func changesThroughTheMountAreSeenInProcess() async throws {
      try await withMount { tree in
        try Host.create(tree("a"), pattern(100))
        #expect(try tree.files.contents(of: "a") == pattern(100))
        let file = try HostFile(tree("a"))
        try file.write([7], at: 50)
        #expect(try tree.files.contents(of: "a")[50] == 7)
        try file.resize(to: 10)
        #expect(try tree.files.metadata(of: "a").size == 10)
        try Host.rename(tree("a"), tree("b"))
        #expect(!tree.files.exists("a"))
        #expect(tree.files.exists("b"))
        try Host.makeDirectory(tree("d"))
        #expect(try tree.files.entries().map(\.name.string).sorted() == ["b", "d"])
        try Host.unlink(tree("b"))
        try Host.removeDirectory(tree("d"))
        #expect(try tree.files.entries().isEmpty)
      }
    }

    /// With a writeback cache the kernel keeps data until it is told to write it back.
    @Test func writebackCacheReachesTheTreeWithSync() async throws {
      try await withMount(options: .init(cache: .writeback)) { tree in
        let file = try HostFile(tree("a"), O_CREAT | O_RDWR)
        try file.write(pattern(100), at: 0)
        try file.sync()
        #expect(try tree.files.contents(of: "a") == pattern(100))
      }
    }

    /// Both sides at it, for deadlocks: announcements take the kernel's locks of directories that requests hold, too.
    @Test func bothSidesAtOnce() async throws {
      let tree = try await onThread { try MountedTree() }
      try await onThreads(8) { index in
        for round in 0..<150 {
          let name = "f\(round % 5)"
          let own = FilePath("h\(index)")
          if index < 4 {
            try? Host.create(tree(name), pattern(50, seed: round))
            _ = try? Host.contents(tree(name))
            _ = try Host.names(tree.path)
            try? Host.rename(tree(name), tree("g\(index)"))
            try? Host.unlink(tree("g\(index)"))
          } else {
            try? tree.files.write(pattern(60, seed: round), to: FilePath(name))
            try? tree.files.rename(FilePath(name), to: own)
            _ = try tree.files.entries()
            try? tree.files.remove(own)
          }
        }
      }
      try await onThread {
        let (outside, inside) = (try Host.names(tree.path), try tree.files.entries().map(\.name.string).sorted())
        #expect(outside == inside)
        tree.end()
      }
    }
  }
}
