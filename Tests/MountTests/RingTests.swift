import CHostCalls
import CSpoolSystem
import Foundation
import SpoolStorage
import SystemPackage
import TestSupport
import Testing

@testable import SpoolFS

extension MountSuites {
  /// What is special about requests over io_uring: when it is used, how it ends, and that nobody waits for ever.
  @Suite(.serialized, .kernelRing, .enabled(if: KernelRing.isAvailable, "this kernel has no FUSE over io_uring"))
  struct RingTests {
    private static let ring = MountOptions(transport: .ring)

    // MARK: - Whether it is used

    @Test func theMountTellsItsTransport() async throws {
      for transport in MountOptions.Transport.allCases {
        try await withMount(options: .init(transport: transport)) { tree in
          let expected: MountOptions.Transport = transport == .device ? .device : .ring
          #expect(tree.mount.transport == expected)
          #expect(tree.mount.ringObstacle == nil)
          let stats = String(decoding: try Host.contents(tree(".spoolfs/stats")), as: UTF8.self)
          #expect(stats.contains("\"transport\":\"\(expected.rawValue)\""))
        }
      }
    }

    @Test(.enabled(if: KernelRing.canBeSwitched)) func switchedOffItFallsBackOrSaysWhatHelps() async throws {
      try await KernelRingSwitch.with(on: false) {
        try await withMount(options: .init(transport: .auto)) { tree in
          #expect(tree.mount.transport == .device)
          #expect(tree.mount.ringObstacle?.contains("echo Y > /sys/module/fuse/parameters/enable_uring") == true)
          try Host.create(tree("a"), [1])
          #expect(try Host.contents(tree("a")) == [1])
        }
        try await onThread {
          let error = try failure(of: Self.ring)
          #expect(error?.code == .unsupported)
          #expect(error?.message.contains("echo Y > /sys/module/fuse/parameters/enable_uring") == true)
        }
      }
    }

    @Test(arguments: [RingFault.opening, .registering]) func aQueueThatCannotServe(_ fault: RingFault) async throws {
      var options = MountOptions(transport: .auto)
      options.ringFault = fault
      try await withMount(options: options) { tree in
        #expect(tree.mount.transport == .device)
        #expect(tree.mount.ringObstacle?.isEmpty == false)
        try Host.create(tree("a"), pattern(100_000))
        #expect(try Host.contents(tree("a")) == pattern(100_000))
        #expect(try Host.names(tree.path) == ["a"])
      }
      options.transport = .ring
      let demanding = options
      try await onThread {
        let error = try failure(of: demanding)
        #expect(error?.code == .mountRefused)
        #expect(error?.message.hasPrefix("no ring transport: ") == true)
      }
      // None of the servers stays either.
      try eventually { try Self.threads().isEmpty }
    }

    /// - Returns: the error that mounting fails with, after which nothing is left.
    private func failure(of options: MountOptions) throws -> SpoolFSError? {
      let path = try MountedTree.makeMountPoint()
      defer { rmdir(path) }
      let files = try FileSystem()
      let error = #expect(throws: SpoolFSError.self) { try files.mount(at: FilePath(path), options: options) }
      #expect(try !MountTable.spoolfsEntries().contains { $0.path.string == path })
      try files.mount(at: FilePath(path), options: .init(transport: .device)).unmount()
      return error
    }

    /// Names of this process's threads that serve a mount.
    private static func threads() throws -> [String] {
      try FileManager.default.contentsOfDirectory(atPath: "/proc/self/task").compactMap { thread in
        (try? String(contentsOfFile: "/proc/self/task/\(thread)/comm", encoding: .utf8))
          .flatMap { $0.hasPrefix("spoolfs/") ? $0 : nil }
      }
    }

    @Test func processorsAreCounted() {
      #expect(RingSupport.countProcessors("0\n") == 1)
      #expect(RingSupport.countProcessors("0-7\n") == 8)
      #expect(RingSupport.countProcessors("0-3,8-9,12\n") == 7)
      #expect(RingSupport.queueCount() >= sysconf(Int32(_SC_NPROCESSORS_ONLN)))
    }

    // MARK: - Requests that take long

    /// Each search for holes waits until the kernel has written the file back, which takes requests of the same queue.
    @Test func searchesForHolesWhileDataIsWrittenBack() async throws {
      let tree = try await onThread { try MountedTree(options: .init(cache: .writeback, transport: .ring)) }
      try await onThreads(24) { index in
        spool_run_on_processor(0)
        let file = try HostFile(tree("f\(index)"), O_CREAT | O_RDWR)
        for round in 0..<10 {
          let offset = Int64(1 + round) << 20
          try file.write(pattern(10_000, seed: index), at: offset)
          #expect(try file.seek(offset - 4096, 3) == offset)
          #expect(try file.seek(offset, 4) == offset + 10_000)
        }
      }
      try await onThread { tree.end() }
    }

    // MARK: - The end

    @Test(.enabled(if: geteuid() == 0)) func connectionAbortedUnderLoad() async throws {
      for _ in 0..<5 {
        let tree = try await onThread { try MountedTree(options: Self.ring) }
        async let clients: Void = onThreads(6) { index in
          // Until the mount has gone, with whatever error that shows.
          for round in 0..<100_000 {
            do {
              try Host.create(tree("c\(index)-\(round)"), pattern(5000))
              try Host.unlink(tree("c\(index)-\(round)"))
            } catch {
              return
            }
          }
        }
        try await onThread {
          try eventually { tree.mount.statistics.requests["MKNOD", default: 0] > 200 }
          // MNT_FORCE: the kernel gives up what is under way.
          umount2(tree.path, 1)
          tree.mount.waitUntilUnmounted()
        }
        try await clients
        try await onThread {
          // The mount goes with its connection.
          try eventually { try MountTable.top(at: FilePath(tree.path)) == nil }
          tree.end()
          #expect(!Host.exists(tree.path))
        }
      }
      try eventually { try Self.threads().isEmpty }
    }

    @Test func serverKilledUnderLoad() async throws {
      for _ in 0..<3 {
        let mount = try await onThread { try ServedMount(cache: .writeback, transport: .ring) }
        async let clients: Void = onThreads(6) { index in
          for round in 0..<100_000 {
            do {
              try Host.create(mount("c\(index)-\(round)"), pattern(50_000))
              _ = try Host.names(mount.path)
              try Host.unlink(mount("c\(index)-\(round)"))
            } catch {
              return
            }
          }
        }
        try await onThread {
          usleep(200_000)
          mount.kill()
        }
        try await clients
        try await onThread {
          mount.end()
          #expect(!Host.exists(mount.path))
        }
      }
    }
  }
}
