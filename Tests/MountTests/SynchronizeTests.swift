import Foundation
import Synchronization
import SystemPackage
import TestSupport
import Testing

@testable import SpoolFS

extension MountSuites {
  /// fsync(2), and disks that refuse late what they took.
  @Suite(.serialized, .kernelRing, .enabled(if: geteuid() == 0, "mounting needs root")) struct SynchronizeTests {
    private static func configuration(_ disk: FaultyDisk, encrypts: Bool = false) -> FileSystem.Configuration {
      FileSystem.Configuration(
        storage: .init(threshold: .bytes(64 * 1024), spillDirectory: disk.path, encryptsSpill: encrypts))
    }

    /// Has the kernel ask for the bytes again.
    private static func forgetPages(_ file: HostFile) { posix_fadvise(file.descriptor, 0, 0, POSIX_FADV_DONTNEED) }

    @Test(arguments: Way.all, [false, true]) func whatTheDiskRefusesIsToldAndKept(_ way: Way, encrypts: Bool)
      async throws
    {
      let disk = try FaultyDisk()
      defer { disk.end() }
      try await withMount(Self.configuration(disk, encrypts: encrypts), options: way.options) { tree in
        let file = try HostFile(tree("a"), O_CREAT | O_RDWR)
        try file.write(pattern(500_000), at: 0)
        try file.sync()
        disk.order(.refuse(.noSpace))
        try file.write(pattern(200_000, seed: 3), at: 100_000)
        #expect(failure { try file.sync() } == .noSpace)
        let listing = String(decoding: try Host.contents(tree(".spoolfs/files")), as: UTF8.self)
        #expect(!listing.contains("\"refused\":0}"))
        let numbers = String(decoding: try Host.contents(tree(".spoolfs/stats")), as: UTF8.self)
        #expect(!numbers.contains("\"disk_refusals\":0,"))
        var expected = pattern(500_000)
        expected.replaceSubrange(100_000..<300_000, with: pattern(200_000, seed: 3))
        Self.forgetPages(file)
        #expect(try file.read(600_000) == expected)
        disk.order(.take)
        try file.sync()
        Self.forgetPages(file)
        #expect(try file.read(600_000) == expected)
        let later = String(decoding: try Host.contents(tree(".spoolfs/files")), as: UTF8.self)
        #expect(later.contains("\"refused\":0}"))
      }
    }

    @Test(arguments: Way.all) func filesInMemoryNeedNoDisk(_ way: Way) async throws {
      let disk = try FaultyDisk()
      defer { disk.end() }
      try await withMount(Self.configuration(disk), options: way.options) { tree in
        disk.order(.refuse(.ioError))
        let file = try HostFile(tree("a"), O_CREAT | O_RDWR)
        try file.write(pattern(60_000), at: 0)
        try file.sync()
        #expect(try file.read(70_000) == pattern(60_000))
      }
    }

    @Test(arguments: Way.all) func othersAreServedWhileADiskTakesItsTime(_ way: Way) async throws {
      let disk = try FaultyDisk()
      defer { disk.end() }
      try await withMount(Self.configuration(disk), options: way.options) { tree in
        let waiting = 6
        let files = try (0..<waiting).map { number in
          let file = try HostFile(tree("slow\(number)"), O_CREAT | O_RDWR)
          try file.write(pattern(100_000), at: 0)
          try file.sync()
          try file.write(pattern(100_000, seed: 1), at: 0)
          return file
        }
        disk.order(.hold)
        let synchronized = DispatchGroup()
        let failures = Atomic<Int>(0)
        let doneCount = Atomic<Int>(0)
        withExtendedLifetime(files) {
          for file in files {
            synchronized.enter()
            Thread.detachNewThread {
              do { try file.sync() } catch { failures.add(1, ordering: .relaxed) }
              doneCount.add(1, ordering: .relaxed)
              synchronized.leave()
            }
          }
        }
        // The test must end also where nobody is served.
        let isServed = Atomic<Bool>(false)
        let wasRescued = Atomic<Bool>(false)
        synchronized.enter()
        Thread.detachNewThread {
          for _ in 0..<400 where !isServed.load(ordering: .relaxed) { usleep(50_000) }
          if !isServed.load(ordering: .relaxed) { wasRescued.store(true, ordering: .relaxed) }
          disk.order(.take)
          synchronized.leave()
        }
        for number in 0..<50 {
          try Host.create(tree("other\(number)"), pattern(1000, seed: number))
          #expect(try Host.contents(tree("other\(number)")) == pattern(1000, seed: number))
          try Host.unlink(tree("other\(number)"))
          usleep(2000)
        }
        let doneEarly = doneCount.load(ordering: .relaxed)
        #expect(doneEarly == 0)
        isServed.store(true, ordering: .relaxed)
        synchronized.wait()
        let (rescued, failed) = (wasRescued.load(ordering: .relaxed), failures.load(ordering: .relaxed))
        #expect(!rescued)
        #expect(failed == 0)
      }
    }
  }
}
