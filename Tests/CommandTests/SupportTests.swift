import Glibc
import SystemPackage
import Testing

extension CommandTests {
  /// The other suites rely on the checker to see what stays behind.
  @Suite(.serialized, .timeLimit(.minutes(10))) struct SupportTests {
    @Test func outputAndStatusAreReported() async throws {
      try await Sandbox.with { sandbox in
        let outcome = try await sandbox.shell("echo out; echo \"$1\" >&2; exit 3", ["err"])
        #expect(outcome.text == "out\n")
        #expect(outcome.errorText == "err\n")
        #expect(outcome.exitCode == 3)
        #expect(try await sandbox.shell("kill -TERM $$").signal == SIGTERM)
      }
    }

    @Test func aProgramLeftInTheBackgroundIsFound() async throws {
      try await Sandbox.with { sandbox in
        let outcome = try await sandbox.shell("setsid sleep 1000 & echo $!")
        let identifier = try #require(pid_t(outcome.text.dropLast()))
        #expect(
          await eventually {
            sandbox.processes.contains { $0.identifier == identifier && $0.command == "sleep 1000" }
          })
        kill(identifier, SIGKILL)
        #expect(await eventually { sandbox.processes.isEmpty })
      }
    }

    @Test func spillFilesAndPrivateDirectoriesAreFound() async throws {
      try await Sandbox.with { sandbox in
        try sandbox.spillDirectory.appending("a").write([1, 2, 3])
        mkdir(sandbox.runtimeDirectory.appending("b").string, 0o700)
        #expect(sandbox.spillDirectory.entries + sandbox.runtimeDirectory.entries == ["a", "b"])
        #expect(sandbox.spillDirectory.appending("a").bytes == [1, 2, 3])
        try await sandbox.shell(
          "rm -r \"$@\"", [sandbox.spillDirectory.string + "/a", sandbox.runtimeDirectory.string])
      }
    }

    @Test func theMountTableIsRead() {
      #expect(MountTableEntry.all.contains { $0.path == "/proc" && $0.type == "proc" && $0.options.contains("rw") })
    }
  }
}
