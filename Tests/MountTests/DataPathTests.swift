import CHostCalls
import Foundation
import Synchronization
import SystemPackage
import Testing

@testable import SpoolFS
@testable import SpoolStorage

extension MountSuites {
  @Suite(.serialized, .kernelRing) struct DataPathTests {
    private static let directFlag: Int32 = 0o40000
    private static let keepSize: Int32 = 1
    private static let punchHole: Int32 = 2
    private static let zeroRange: Int32 = 16

    @Test(arguments: Way.all) func largeFileCrossesTheThreshold(_ way: Way) async throws {
      try await withMount(smallThreshold, options: way.options) { tree in
        let data = pattern(5 << 20)
        try Host.create(tree("a"), data)
        #expect(try Host.contents(tree("a")) == data)
        #expect(try Host.status(tree("a")).size == Int64(data.count))
        #expect(try tree.files.contents(of: "a") == data)
      }
    }

    @Test(arguments: cacheModes) func theStorageKnowsWhetherTheKernelCaches(_ cache: MountOptions.Cache) async throws {
      let store = try await onThread {
        let tree = try MountedTree(options: .init(cache: cache))
        defer { tree.end() }
        #expect(tree.files.store.isCachedAbove.load(ordering: .relaxed) == (cache != .none))
        return tree.files.store
      }
      try eventually { !store.isCachedAbove.load(ordering: .relaxed) }
    }

    @Test(arguments: Way.all) func aStreamThroughLittleMemory(_ way: Way) async throws {
      let small = FileSystem.Configuration(
        storage: .init(memoryBudget: 4 << 20, spillDirectory: FilePath("/var/tmp")))
      try await withMount(small, options: way.options) { tree in
        let data = pattern(24 << 20)
        try Host.create(tree("a"), data)
        #expect(try Host.contents(tree("a")) == data)
        #expect(tree.files.store.usage.memoryBytes <= 4 << 20)
        #expect(try tree.files.contents(of: "a") == data)
      }
    }

    @Test(arguments: Way.all) func offsetsBeyondFourGigabytes(_ way: Way) async throws {
      try await withMount(options: way.options) { tree in
        let file = try HostFile(tree("a"), O_CREAT | O_RDWR)
        let far: Int64 = 5 << 32
        try file.write([1, 2, 3], at: far)
        #expect(try file.read(6, at: far - 3) == [0, 0, 0, 1, 2, 3])
        #expect(try file.status.size == far + 3)
      }
    }

    @Test(arguments: Way.all) func directIO(_ way: Way) async throws {
      try await withMount(options: way.options) { tree in
        let file = try HostFile(tree("a"), O_CREAT | O_RDWR | Self.directFlag)
        let size = 3 << 20
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: size, alignment: 4096)
        defer { buffer.deallocate() }
        buffer.copyBytes(from: pattern(size))
        #expect(pwrite(file.descriptor, buffer.baseAddress, size, 0) == size)
        buffer.initializeMemory(as: UInt8.self, repeating: 0)
        #expect(pread(file.descriptor, buffer.baseAddress, size, 0) == size)
        #expect(buffer.elementsEqual(pattern(size)))
        // A cached reader sees what a direct writer wrote, and the other way round.
        #expect(try Host.contents(tree("a")) == pattern(size))
        try HostFile(tree("a")).write([9, 9], at: 4096)
        #expect(pread(file.descriptor, buffer.baseAddress, 4096, 4096) == 4096)
        #expect(buffer[0] == 9 && buffer[1] == 9)
      }
    }

    @Test(arguments: Way.all) func appendsGoToTheEnd(_ way: Way) async throws {
      try await withMount(options: way.options) { tree in
        let first = try HostFile(tree("a"), O_CREAT | O_WRONLY | O_APPEND)
        let second = try HostFile(tree("a"), O_WRONLY | O_APPEND)
        try first.append([1, 2])
        try second.append([3])
        try first.append([4])
        #expect(try Host.contents(tree("a")) == [1, 2, 3, 4])
      }
    }

    @Test(arguments: Way.all) func truncationOnOpen(_ way: Way) async throws {
      try await withMount(options: way.options) { tree in
        try Host.create(tree("a"), pattern(10_000))
        _ = try HostFile(tree("a"), O_RDWR | O_TRUNC)
        #expect(try Host.status(tree("a")).size == 0)
        #expect(try tree.files.contents(of: "a") == [])
      }
    }

    @Test(arguments: Way.all) func allocationKeepsOrGrowsTheSize(_ way: Way) async throws {
      try await withMount(options: way.options) { tree in
        let file = try HostFile(tree("a"), O_CREAT | O_RDWR)
        try file.write([1, 2, 3], at: 0)
        try file.allocate(Self.keepSize, at: 0, count: 100_000)
        #expect(try file.status.size == 3)
        #expect(try file.status.blocks * 512 >= 100_000)
        try file.allocate(0, at: 0, count: 50_000)
        #expect(try file.status.size == 50_000)
        #expect(try file.read(5) == [1, 2, 3, 0, 0])
      }
    }

    @Test(arguments: Way.all) func punchAndZero(_ way: Way) async throws {
      try await withMount(smallThreshold, options: way.options) { tree in
        var data = pattern(300_000)
        try Host.create(tree("a"), data)
        let file = try HostFile(tree("a"))
        try file.allocate(Self.punchHole | Self.keepSize, at: 10_000, count: 100_000)
        for index in 10_000..<110_000 { data[index] = 0 }
        try file.allocate(Self.zeroRange, at: 290_000, count: 20_000)
        data.replaceSubrange(290_000..., with: [UInt8](repeating: 0, count: 20_000))
        #expect(try Host.contents(tree("a")) == data)
        #expect(try file.status.size == 310_000)
        // FALLOC_FL_COLLAPSE_RANGE: not on tmpfs either.
        #expect(failure { try file.allocate(8, at: 0, count: 4096) } == .notSupportedOnSocket)
      }
    }

    @Test(arguments: Way.all) func seekingDataAndHoles(_ way: Way) async throws {
      try await withMount(options: way.options) { tree in
        let file = try HostFile(tree("a"), O_CREAT | O_RDWR)
        let megabyte: Int64 = 1 << 20
        try file.write([1], at: 4 * megabyte)
        try file.resize(to: 8 * megabyte)
        // Under a writeback cache the tree has seen nothing of it yet.
        let (data, hole): (Int32, Int32) = (3, 4)
        #expect(try file.seek(0, data) == 4 * megabyte)
        #expect(try file.seek(0, hole) == 0)
        #expect(try file.seek(4 * megabyte, hole) == 4 * megabyte + 4096)
        #expect(failure { _ = try file.seek(4 * megabyte + 4096, data) } == .noSuchAddressOrDevice)
        #expect(failure { _ = try file.seek(8 * megabyte, data) } == .noSuchAddressOrDevice)
      }
    }

    @Test(arguments: Way.all) func copyFileRange(_ way: Way) async throws {
      try await withMount(smallThreshold, options: way.options) { tree in
        let data = pattern(400_000)
        try Host.create(tree("a"), data)
        let source = try HostFile(tree("a"))
        let target = try HostFile(tree("b"), O_CREAT | O_RDWR)
        var copied: Int64 = 0
        while copied < 350_000 {
          copied += try source.copy(from: 1000 + copied, to: target, at: 77 + copied, count: Int(350_000 - copied))
        }
        #expect(try Array(Host.contents(tree("b")).dropFirst(77)) == Array(data[1000..<351_000]))
        #expect(try source.copy(from: 400_000, to: target, at: 0, count: 10) == 0)
      }
    }

    @Test(arguments: Way.all) func sendfileInAndOut(_ way: Way) async throws {
      try await withMount(options: way.options) { tree in
        let data = pattern(200_000)
        try Host.create(tree("a"), data)
        let program = """
          import os, sys
          source, target = sys.argv[1:]
          with open(source, 'rb') as a, open(target, 'wb') as b:
              sent = 0
              while sent < 200000: sent += os.sendfile(b.fileno(), a.fileno(), sent, 200000 - sent)
          print(open(source, 'rb').read() == open(target, 'rb').read())
          """
        #expect(try python(program, tree("a"), tree("b")) == "True")
        #expect(try Host.contents(tree("b")) == data)
      }
    }

    @Test func blocksCountData() async throws {
      try await withMount { tree in
        let file = try HostFile(tree("a"), O_CREAT | O_RDWR)
        try file.resize(to: 1 << 30)
        #expect(try Host.status(tree("a")).blocks == 0)
        try file.write(pattern(4096), at: 1 << 20)
        #expect(try Host.status(tree("a")).blocks == 8)
      }
    }

    /// The kernel tells of a file's end a little after close(2) and rmdir(2) have returned; tmpfs has its space at once.
    @Test(arguments: Way.all) func spaceIsFreeAfterTheLastClose(_ way: Way) async throws {
      let limit = 1 << 20
      try await withMount(.init(storage: .init(sizeLimit: Int64(limit)), inodeLimit: 8), options: way.options) { tree in
        let data = pattern(limit)
        for _ in 0..<30 {
          let file = try HostFile(unnamedIn: tree.path)
          try file.write(data, at: 0)
          try file.sync()
        }
        var removed: HostFile? = try HostFile(tree("a"), O_CREAT | O_RDWR)
        try removed?.write(data, at: 0)
        try removed?.sync()
        try Host.unlink(tree("a"))
        // Longer than what was removed is taken to be about to end.
        usleep(700_000)
        withExtendedLifetime(removed) {}
        removed = nil
        let next = try HostFile(tree("a"), O_CREAT | O_RDWR)
        try next.write(data, at: 0)
        try next.sync()
        for round in 0..<30 {
          try Host.makeDirectory(tree("d\(round)"))
          try Host.removeDirectory(tree("d\(round)"))
        }
      }
    }

    @Test func theLimitIsReported() async throws {
      let configuration = FileSystem.Configuration(storage: .init(sizeLimit: 1 << 20))
      try await withMount(configuration) { tree in
        let file = try HostFile(tree("a"), O_CREAT | O_RDWR)
        try file.write(pattern(1 << 20), at: 0)
        #expect(failure { try file.write([1], at: 1 << 20) } == .noSpace)
        try Host.truncate(tree("a"), 0)
        try file.write([1], at: 0)
        var numbers = statvfs()
        #expect(statvfs(tree.path, &numbers) == 0)
        #expect(numbers.f_blocks * UInt(numbers.f_frsize) == 1 << 20)
        #expect(numbers.f_bfree == numbers.f_blocks - 1)
      }
    }
  }
}
