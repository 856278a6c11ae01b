import Foundation
import SpoolFS
import Testing

extension MountSuites {
  /// Processors come and go while requests flow.
  @Suite(.serialized, .kernelRing) struct ProcessorTests {
    @Test(.enabled(if: LastProcessor.canBeSwitched, "no processor can be taken offline"), arguments: transports)
    func goesOfflineUnderLoadAndComesBack(_ transport: MountOptions.Transport) async throws {
      for isOfflineAtTheEnd in [false, true] {
        defer { LastProcessor.switchOn() }
        let mount = try await onThread { try ServedMount(cache: .writethrough, transport: transport) }
        let switching = Task { try await onThread { try Self.switchProcessor(leavingItOff: isOfflineAtTheEnd) } }
        // Nobody is left without an answer: each comes to its end, and finds what it wrote.
        let load = Task { try await onThreads(4) { try Self.work(in: mount, as: $0) } }
        let outcomes = [await switching.result, await load.result]
        try await onThread { mount.end() }
        #expect(!Host.exists(mount.path))
        for outcome in outcomes { try outcome.get() }
      }
    }

    private static func switchProcessor(leavingItOff: Bool) throws {
      for _ in 0..<3 {
        try LastProcessor.set("0")
        usleep(100_000)
        try LastProcessor.set("1")
        usleep(100_000)
      }
      if leavingItOff { try LastProcessor.set("0") }
    }

    private static func work(in mount: ServedMount, as client: Int) throws {
      for round in 0..<1500 {
        let path = mount("c\(client)-\(round)")
        try Host.create(path, pattern(5000, seed: round))
        #expect(try Host.contents(path) == pattern(5000, seed: round))
        try Host.unlink(path)
      }
    }
  }
}

/// The processor with the highest number, which the kernel may let go.
private enum LastProcessor {
  private static let path = "/sys/devices/system/cpu/cpu\(sysconf(Int32(_SC_NPROCESSORS_CONF)) - 1)/online"

  static let canBeSwitched = access(path, W_OK) == 0

  static func set(_ state: String) throws { try HostFile(path, O_WRONLY).append(Array(state.utf8)) }

  static func switchOn() { try? set("1") }
}
