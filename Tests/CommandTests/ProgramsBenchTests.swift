import SystemPackage
import Testing

extension CommandTests {
  /// The benchmark works; what it measures is no test's business.
  @Suite(.serialized, .timeLimit(.minutes(10))) struct ProgramsBenchTests {
    @Test func theBenchmarkRunsAndLeavesNothing() async throws {
      let script = FilePath(#filePath).removingLastComponent().removingLastComponent().removingLastComponent()
        .appending("scripts/bench")
      try await Sandbox.with { sandbox in
        let before = FilePath("/dev/shm").entries
        let outcome = try await sandbox.run(
          script.string,
          [
            "--quick", "--places=writeback,run-writethrough,tmpfs,disk", "--only=cycle", "--only=append-*",
            "--only=namedtemp", "--json=result.json",
          ], environment: ["SPOOLFS_EXECUTABLE": Sandbox.executable.string])
        #expect(outcome.succeeded && outcome.errorOutput.isEmpty, "\(outcome.testDescription)")
        #expect(outcome.text.contains("run-writethrough") && outcome.text.contains("append-4k"))
        let result = String(decoding: sandbox.work.appending("result.json").bytes, as: UTF8.self)
        #expect(result.contains("\"median\""))
        let left = FilePath("/dev/shm").entries.filter { $0.hasPrefix("spoolfs-bench-") && !before.contains($0) }
        #expect(left.isEmpty)
      }
    }
  }
}
