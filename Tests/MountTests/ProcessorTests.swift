import Foundation
import SpoolFS
import Synchronization
import TestSupport
import Testing

extension SchedulingSuites {
  /// Processors come and go while requests flow.
  @Suite(.serialized, .kernelRing) struct ProcessorTests {
    /// Tells clients when to end.
    private final class Stage: Sendable {
      let isOver = Atomic<Bool>(false)
    }

    @Test(.enabled(if: LastProcessor.canBeSwitched, "no processor may be taken offline"), arguments: transports)
    func goesOfflineUnderLoadAndComesBack(_ transport: MountOptions.Transport) async throws {
      let mount = try await onThread { try ServedMount(cache: .writethrough, transport: transport) }
      let stage = Stage()
      let switching = Task {
        defer { stage.isOver.store(true, ordering: .relaxed) }
        try await onThread {
          for _ in 0..<5 {
            try LastProcessor.set("0")
            usleep(100_000)
            try LastProcessor.set("1")
            usleep(100_000)
          }
        }
      }
      // Nobody is left without an answer: each comes to its end, and finds what it wrote.
      let load = Task { try await onThreads(4) { try Self.work(in: mount, as: $0, until: stage) } }
      let outcomes = [await switching.result, await load.result]
      // Once more while it is unmounted.
      let last = Task { try await onThread { try LastProcessor.set("0") } }
      try await onThread { mount.end() }
      let ending = await last.result
      try LastProcessor.set("1")
      #expect(!Host.exists(mount.path))
      for outcome in outcomes + [ending] { try outcome.get() }
    }

    private static func work(in mount: ServedMount, as client: Int, until stage: Stage) throws {
      var round = 0
      while !stage.isOver.load(ordering: .relaxed) {
        let path = mount("c\(client)-\(round)")
        try Host.create(path, pattern(5000, seed: round))
        #expect(try Host.contents(path) == pattern(5000, seed: round))
        try Host.unlink(path)
        round += 1
      }
      #expect(round > 0)
    }
  }
}

/// The processor with the highest number, which the kernel may let go.
private enum LastProcessor {
  private static let path = "/sys/devices/system/cpu/cpu\(sysconf(Int32(_SC_NPROCESSORS_CONF)) - 1)/online"

  /// Not where it is off already: somebody wants it so.
  static let canBeSwitched =
    access(path, W_OK) == 0 && (try? String(contentsOfFile: path, encoding: .utf8))?.hasPrefix("1") == true
    && HostChange.processors.isAllowed

  static func set(_ state: String) throws { try HostFile(path, O_WRONLY).append(Array(state.utf8)) }
}
