import CHostCalls
import Foundation
import SpoolStorage
import SystemPackage
import Testing

@testable import SpoolFS

extension MountSuites {
  /// What a mount keeps when the load has gone.
  @Suite(.serialized, .kernelRing) struct IdleTests {
    /// Waits for what the server does when nothing has come for some seconds.
    private static func withinAMinute(_ condition: () throws -> Bool) throws {
      for _ in 0..<600 {
        if try condition() { return }
        usleep(100_000)
      }
      throw NeverHappened()
    }

    /// As many requests wait for locks, as they would for a disk.
    private static func holdUp(_ count: Int, _ round: Int, in tree: MountedTree, _ body: () throws -> Void) async throws
    {
      let inodes = try await onThread {
        try (0..<count).map { index in
          try Host.create(tree("slow\(round)-\(index)"))
          return try #require(tree.files.inode(Host.status(tree("slow\(round)-\(index)")).inode))
        }
      }
      for inode in inodes { inode.lock.lock() }
      async let waiting: Void = onThreads(count) {
        try HostFile(tree("slow\(round)-\($0)"), O_WRONLY).write([2], at: 0)
      }
      // Whatever comes of it, they must not wait for ever.
      do {
        defer { for inode in inodes { inode.lock.unlock() } }
        try body()
      }
      try await waiting
    }

    @Test func readersThatNobodyNeedsEnd() async throws {
      let tree = try await onThread { try MountedTree(options: .init(transport: .device)) }
      let session = tree.mount.session
      let before = session.workerCount
      let count = 12
      for round in 1...2 {
        try await Self.holdUp(count, round, in: tree) {
          try eventually { tree.mount.statistics.requests["WRITE", default: 0] >= UInt64(count * round) }
          #expect(session.workerCount >= count)
        }
        // Also without a request that would wake them.
        try Self.withinAMinute { session.workerCount == before }
        // What they counted stays.
        #expect(tree.mount.statistics.requests["WRITE"] == UInt64(count * round))
      }
      try await onThread {
        for index in 0..<count {
          let contents = try Host.contents(tree("slow2-\(index)"))
          #expect(contents == [2])
        }
        tree.end()
      }
    }

    /// Bytes of memory that a process has for itself.
    private static func memory(of process: Int32) throws -> Int {
      let status = try String(contentsOfFile: "/proc/\(process)/status", encoding: .utf8)
      let line = try #require(status.split(separator: "\n").first { $0.hasPrefix("RssAnon:") })
      return try #require(line.split(separator: " ").dropFirst().first.flatMap { Int($0) }) * 1024
    }

    @Test(arguments: transports) func memoryOfLargeMessagesGoesBack(_ transport: MountOptions.Transport) async throws {
      let mount = try await onThread { try ServedMount(cache: .writethrough, transport: transport) }
      defer { mount.end() }
      let before = try Self.memory(of: mount.process)
      try await onThreads(8) { index in
        let file = try HostFile(mount("f\(index)"), O_CREAT | O_RDWR)
        let piece = pattern(1 << 20, seed: index)
        for offset in 0..<Int64(8) { try file.write(piece, at: offset << 20) }
        posix_fadvise(file.descriptor, 0, 0, POSIX_FADV_DONTNEED)
        for offset in 0..<Int64(8) { #expect(try file.read(piece.count, at: offset << 20) == piece) }
        try Host.unlink(mount("f\(index)"))
      }
      try Self.withinAMinute { try Self.memory(of: mount.process) < before + 3 << 20 }
      try await onThread {
        try Host.create(mount("after"), pattern(1 << 20))
        #expect(try Host.contents(mount("after")) == pattern(1 << 20))
      }
    }

    /// Many files on disk: closing them takes the disk long.
    @Test(.enabled(if: geteuid() == 0), arguments: transports) func removedFilesCountAsGoneBeforeTheDiskIsDone(
      _ transport: MountOptions.Transport
    ) async throws {
      let configuration = FileSystem.Configuration(storage: .init(threshold: .bytes(0), sizeLimit: 64 << 20))
      try await withMount(configuration, options: .init(transport: transport)) { tree in
        for round in 0..<3 {
          for index in 0..<500 { try Host.create(tree("\(index)"), pattern(100_000, seed: index)) }
          #expect(tree.files.store.usage.spilledFiles == 500)
          for index in 0..<500 { try Host.unlink(tree("\(index)")) }
          try eventually { tree.files.store.usage.dataBytes == 0 }
          #expect(tree.files.store.usage.spilledFiles == 0, "\(round)")
        }
      }
    }
  }
}
