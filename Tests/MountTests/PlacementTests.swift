import CHostCalls
import CSpoolSystem
import Foundation
import SpoolStorage
import SystemPackage
import Testing

@testable import SpoolFS

extension SchedulingSuites {
  /// Which policy the threads that serve requests have, that they cost nothing when idle, and that nobody waits for those
  /// that take long.
  @Suite(.serialized, .kernelRing) struct PlacementTests {
    /// A thread of the process that serves a mount.
    private struct ServerThread: Hashable {
      var number: Int32
      var name: String
    }

    private static func threads(of process: Int32) throws -> [ServerThread] {
      try FileManager.default.contentsOfDirectory(atPath: "/proc/\(process)/task").compactMap { entry in
        guard let name = try? String(contentsOfFile: "/proc/\(process)/task/\(entry)/comm", encoding: .utf8),
          let number = Int32(entry)
        else { return nil }
        return ServerThread(number: number, name: name.trimmingCharacters(in: .newlines))
      }
    }

    /// Those that take requests: `spoolfs/0`, and so on.
    private static func servers(of process: Int32) throws -> [ServerThread] {
      try threads(of: process).filter { $0.name.hasPrefix("spoolfs/") && $0.name.dropFirst(8).first?.isNumber == true }
    }

    /// Nanoseconds on a processor, and how often, for each thread of a process.
    private static func consumption(of process: Int32) throws -> [ServerThread: [String]] {
      var result: [ServerThread: [String]] = [:]
      for thread in try threads(of: process) {
        // It may have ended since.
        let file = "/proc/\(process)/task/\(thread.number)/schedstat"
        guard let text = try? String(contentsOfFile: file, encoding: .utf8) else { continue }
        let fields = text.split(separator: " ").map(String.init)
        result[thread] = [fields[0], fields[2].trimmingCharacters(in: .newlines)]
      }
      return result
    }

    /// Runs `body` while more programs compute than there are processors. Programs, not threads: who computes is nothing
    /// of the mount's or its caller's.
    private static func whileProgramsCompute(_ body: () throws -> Void) throws {
      let programs = try (0..<2 * sysconf(Int32(_SC_NPROCESSORS_ONLN))).map { _ in
        try Process.run(URL(filePath: "/bin/sh"), arguments: ["-c", "while :; do :; done"])
      }
      defer { for program in programs { kill(program.processIdentifier, SIGKILL) } }
      try body()
    }

    private static func work(in mount: ServedMount, _ rounds: Int) throws {
      for round in 0..<rounds {
        try Host.create(mount("w\(round)"), [1])
        try Host.unlink(mount("w\(round)"))
      }
    }

    @Test(arguments: transports) func anIdleMountUsesNoProcessor(_ transport: MountOptions.Transport) async throws {
      try await onThread {
        let mount = try ServedMount(cache: .writethrough, transport: transport)
        defer { mount.end() }
        try Self.work(in: mount, 500)
        // FORGETs come late, and the thread that watches goes on for a moment.
        func isIdle(_ microseconds: UInt32) throws -> Bool {
          let before = try Self.consumption(of: mount.process)
          usleep(microseconds)
          return try Self.consumption(of: mount.process) == before
        }
        try eventually { try isIdle(100_000) }
        #expect(try SchedulingSuites.mostly { try isIdle(300_000) })
      }
    }

    /// Whatever happened: between two flows of requests no thread depends on others leaving it a processor.
    @Test(arguments: transports) func withoutRequestsAllThreadsHaveTheNormalPolicy(
      _ transport: MountOptions.Transport
    ) async throws {
      try await onThread {
        let mount = try ServedMount(cache: .writethrough, transport: transport)
        defer { mount.end() }
        for _ in 0..<3 {
          try Self.work(in: mount, 500)
          try eventually {
            try Self.threads(of: mount.process).allSatisfy { host_policy($0.number) == host_policy_normal }
          }
        }
        guard transport == .device else { return }
        // And none is bound to a processor any more.
        let all = host_processor_count(mount.process)
        try eventually { try Self.servers(of: mount.process).allSatisfy { host_processor_count($0.number) == all } }
      }
    }

    /// As root: others could not take the policy away again, so their threads never get it.
    @Test(.enabled(if: geteuid() == 0), arguments: transports) func whileRequestsFlowServersHaveTheIdlePolicy(
      _ transport: MountOptions.Transport
    ) async throws {
      try await onThread {
        let mount = try ServedMount(cache: .writethrough, transport: transport)
        defer { mount.end() }
        try eventually {
          try Self.work(in: mount, 50)
          return try Self.servers(of: mount.process).contains { host_policy($0.number) == host_policy_idle }
        }
        // Who watches must not wait behind others itself.
        let watchers = try Self.threads(of: mount.process).filter { $0.name == "spoolfs/watch" }
        #expect(watchers.count == 1)
        #expect(watchers.allSatisfy { host_policy($0.number) == host_policy_normal })
      }
    }

    /// Behind a program that computes, a thread with the idle policy would wait for milliseconds.
    @Test(.enabled(if: geteuid() == 0), arguments: transports) func onBusyProcessorsServersKeepTheNormalPolicy(
      _ transport: MountOptions.Transport
    ) async throws {
      try await onThread {
        let mount = try ServedMount(cache: .writethrough, transport: transport)
        defer { mount.end() }
        try Self.whileProgramsCompute {
          try eventually {
            try (0..<20).allSatisfy { _ in
              try Self.work(in: mount, 5)
              return try Self.servers(of: mount.process).allSatisfy { host_policy($0.number) == host_policy_normal }
            }
          }
        }
      }
    }

    private static let withoutNice = ["/usr/bin/setpriv", "--bounding-set=-sys_nice"]

    /// How often the threads of that name have run.
    private static func runs(of name: String, in mount: ServedMount) throws -> Int {
      try consumption(of: mount.process).filter { $0.key.name == name }.reduce(0) { $0 + (Int($1.value[1]) ?? 0) }
    }

    /// Who may not take the idle policy away from a thread again has one thread keep it, beside those that never get it.
    @Test(.enabled(if: geteuid() == 0)) func withoutTheRightToReturnOneReaderIsIdleForGood() async throws {
      try await onThread {
        let mount = try ServedMount(cache: .writethrough, transport: .device, wrapper: Self.withoutNice)
        defer { mount.end() }
        try eventually {
          let before = try Self.runs(of: "spoolfs/idle", in: mount)
          try Self.work(in: mount, 50)
          return try Self.runs(of: "spoolfs/idle", in: mount) > before + 50
        }
        for thread in try Self.threads(of: mount.process) {
          #expect((host_policy(thread.number) == host_policy_idle) == (thread.name == "spoolfs/idle"), "\(thread.name)")
        }
      }
    }

    /// It would be the last to run there, so nobody may wait for it.
    @Test(.enabled(if: geteuid() == 0)) func inACrowdTheReaderThatIsIdleForGoodDoesNotRead() async throws {
      try await onThread {
        let mount = try ServedMount(cache: .writethrough, transport: .device, wrapper: Self.withoutNice)
        defer { mount.end() }
        try eventually {
          try Self.work(in: mount, 50)
          return try Self.runs(of: "spoolfs/idle", in: mount) > 50
        }
        try Self.whileProgramsCompute {
          try eventually {
            let before = try Self.runs(of: "spoolfs/idle", in: mount)
            try Self.work(in: mount, 200)
            return try Self.runs(of: "spoolfs/idle", in: mount) == before
          }
        }
      }
    }

    /// With no free processor to be moved to, a caller stays where it is, and so does who reads for it.
    @Test(.enabled(if: geteuid() == 0 && sysconf(Int32(_SC_NPROCESSORS_ONLN)) > 1))
    func inACrowdTheReaderGoesToItsCaller() async throws {
      try await onThread {
        let mount = try ServedMount(cache: .writethrough, transport: .device)
        defer { mount.end() }
        try Self.whileProgramsCompute {
          try eventually {
            try Self.work(in: mount, 50)
            return try Self.servers(of: mount.process).contains {
              host_policy($0.number) == host_policy_normal && host_processor_count($0.number) == 1
            }
          }
          // And back, when no requests come, though the crowd is there.
          let all = host_processor_count(mount.process)
          try eventually { try Self.servers(of: mount.process).allSatisfy { host_processor_count($0.number) == all } }
        }
      }
    }

    /// A caller that is woken where something else has just run is moved away from who answers it.
    @Test(.enabled(if: geteuid() == 0 && sysconf(Int32(_SC_NPROCESSORS_ONLN)) > 1), arguments: transports)
    func whoWatchesLeavesTheProcessorsThatServe(_ transport: MountOptions.Transport) async throws {
      try await onThread {
        let mount = try ServedMount(cache: .writethrough, transport: transport)
        defer { mount.end() }
        let watcher = try #require(try Self.threads(of: mount.process).first { $0.name == "spoolfs/watch" })
        let all = host_processor_count(mount.process)
        try eventually {
          try Self.work(in: mount, 50)
          return host_processor_count(watcher.number) < all
        }
        try eventually { host_processor_count(watcher.number) == all }
      }
    }

    /// The servers of the ring's first queue that may run on its processor only, and those that may not run there.
    private static func firstServers(_ process: Int32) throws -> (home: Set<ServerThread>, away: Set<ServerThread>) {
      let servers = try servers(of: process).filter { ["spoolfs/0", "spoolfs/0+"].contains($0.name) }
      return (
        Set(servers.filter { host_may_run_on($0.number, 0) == 1 && host_processor_count($0.number) == 1 }),
        Set(servers.filter { host_may_run_on($0.number, 0) == 0 })
      )
    }

    private static let hasOtherProcessors =
      geteuid() == 0 && sysconf(Int32(_SC_NPROCESSORS_ONLN)) > 1 && Processors.allowed.contains(0)

    @Test(.enabled(if: hasOtherProcessors)) func whatIsReadAheadIsReadBesideTheReader() async throws {
      try await onThread {
        let mount = try ServedMount(cache: .writethrough, transport: .ring)
        defer { mount.end() }
        let entry = try #require(try MountTable.top(at: FilePath(mount.path)))
        // READs are too small for it where root may not change that either.
        guard access("/sys/class/bdi/\(entry.major):\(entry.minor)/read_ahead_kb", W_OK) == 0 else { return }
        spool_run_on_processor(0)
        let file = try HostFile(mount("large"), O_CREAT | O_RDWR)
        let piece = pattern(1 << 20)
        let offsets = stride(from: 0, to: Int64(32) << 20, by: piece.count)
        for offset in offsets { try file.write(piece, at: offset) }
        try eventually {
          posix_fadvise(file.descriptor, 0, 0, POSIX_FADV_DONTNEED)
          // A new one is not at home yet.
          let known = try Self.firstServers(mount.process).home
          var haveLeft = false
          for offset in offsets {
            #expect(try file.read(piece.count, at: offset) == piece)
            haveLeft = try haveLeft || !Self.firstServers(mount.process).away.isDisjoint(with: known)
          }
          return haveLeft
        }
        // Who answers what its caller waits for is at home.
        func isAnsweredAtHome() throws -> Bool {
          let before = try Self.consumption(of: mount.process)
          try Self.work(in: mount, 200)
          let after = try Self.consumption(of: mount.process)
          let active = try Self.servers(of: mount.process).filter { server in
            let runs = [after, before].map { Int($0[server]?[1] ?? "") ?? 0 }
            return runs[0] - runs[1] > 100
          }
          return try !active.isEmpty && Self.firstServers(mount.process).home.isSuperset(of: active)
        }
        #expect(try SchedulingSuites.mostly(isAnsweredAtHome))
      }
    }

    private final class Gate: Sendable {
      let isOpen = EventCount()
    }

    /// Many more requests than processors that wait for a lock, as they would for a disk. Over the ring, those of one
    /// processor leave others of the same alone.
    @Test(arguments: transports) func requestsThatTakeLongHoldUpNobodyElse(
      _ transport: MountOptions.Transport
    ) async throws {
      let tree = try await onThread { try MountedTree(options: .init(transport: transport)) }
      // A ring has as many servers for each processor.
      let stuck = transport == .ring ? 3 : 12
      // A file for each: of one file, the kernel lets one write through at a time.
      let inodes = try await onThread {
        try (0..<stuck).map { index in
          try Host.create(tree("slow\(index)"))
          return try #require(tree.files.inode(Host.status(tree("slow\(index)")).inode))
        }
      }
      let gate = Gate()
      async let waiting: Void = onThreads(stuck) { index in
        gate.isOpen.wait(after: 0, timeout: .seconds(10))
        if transport == .ring { spool_run_on_processor(0) }
        try HostFile(tree("slow\(index)"), O_WRONLY).write([2], at: 0)
      }
      async let others: Void = onThread {
        for inode in inodes { inode.lock.lock() }
        // Whatever comes of it, the others must not wait for ever.
        defer { for inode in inodes { inode.lock.unlock() } }
        gate.isOpen.signal()
        try eventually { tree.mount.statistics.requests["WRITE", default: 0] >= UInt64(stuck) }
        if transport == .ring { spool_run_on_processor(0) }
        for index in 0..<50 {
          try Host.create(tree("other\(index)"), [1])
          #expect(try Host.contents(tree("other\(index)")) == [1])
        }
      }
      try await others
      try await waiting
      try await onThread {
        for index in 0..<stuck {
          let contents = try Host.contents(tree("slow\(index)"))
          #expect(contents == [2])
        }
        tree.end()
      }
    }

    @Test func theCallersProcessorIsFound() async throws {
      try await onThread {
        spool_run_on_processor(0)
        var place = CallerPlace()
        let own = UInt32(spool_thread_id())
        // Twice, then a thread that there is not, then the first one again.
        let (first, second) = (place.processor(of: own), place.processor(of: own))
        let none = place.processor(of: 0x7FFF_FFFF)
        let again = place.processor(of: own)
        #expect([first, second, again] == [0, 0, 0])
        #expect(none == nil)
      }
    }
  }
}
