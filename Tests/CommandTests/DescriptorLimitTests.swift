import Glibc
import SystemPackage
import Testing

extension CommandTests {
  /// Every file on disk takes a descriptor of the server's. What comes at the end needs some, too.
  @Suite(.serialized, .timeLimit(.minutes(10))) struct DescriptorLimits {
    /// Files that go to disk one by one, until one does not.
    private static let fill = """
      n=0; while head -c 40000 /dev/zero > $n; do n=$((n + 1)); [ $n -lt 500 ] || exit 4; done 2> errors
      grep -q "No space left on device" errors && [ $n -gt 100 ] && exit 9
      """
    private static let message = """
      spoolfs: no file descriptor is left for another file on disk, so writers get ENOSPC: the limit of open files \
      (RLIMIT_NOFILE) is 256; raise it (ulimit -n), or keep more in memory (--memory, --threshold)

      """

    @Test(arguments: [[], ["--encrypt-spill"], ["--cache=writethrough"]], Sandbox.users)
    func aRunThatUsesAllOfThemEndsAsAnyOther(options: [String], of user: uid_t?) async throws {
      try await Sandbox.with(user: user) { sandbox in
        let script = "ulimit -n 256; exec \"$@\""
        let outcome = try await sandbox.shell(
          script,
          [Sandbox.executable.string, "run", "--memory=1m", "--threshold=32k"] + options
            + ["--", "sh", "-c", "cd $TMPDIR && { \(Self.fill)\n}"])
        #expect(outcome.exitCode == 9, "\(outcome.testDescription)")
        #expect(outcome.errorText == Self.message)
        #expect(sandbox.mounts.isEmpty && sandbox.runtimeDirectory.entries.isEmpty)
      }
    }

    /// Somebody keeps the tree busy, so that it takes more to end.
    @Test(arguments: ["kill", "lazy"], Sandbox.users)
    func alsoWhereOthersUseTheTree(policy: String, of user: uid_t?) async throws {
      try await Sandbox.with(user: user) { sandbox in
        let script = "ulimit -n 256; exec \"$@\""
        let program = "cd $TMPDIR && sleep 1000 > /dev/null 2>&1 & cd $TMPDIR && { \(Self.fill)\n}"
        let outcome = try await sandbox.shell(
          script,
          [Sandbox.executable.string, "run", "--memory=1m", "--threshold=32k", "--leftover", policy]
            + ["--", "sh", "-c", program])
        #expect(outcome.exitCode == 9, "\(outcome.testDescription)")
        #expect(outcome.errorText.hasPrefix(Self.message))
        #expect(policy == "kill" || outcome.errorText.contains("(sleep)"))
        for process in sandbox.processes where process.command == "sleep 1000" { kill(process.identifier, SIGKILL) }
      }
    }

    @Test(arguments: Sandbox.users) func aMountThatUsesAllOfThemEndsBySignal(of user: uid_t?) async throws {
      try await Sandbox.with(user: user) { sandbox in
        let script = "ulimit -n 256; exec \"$1\" mount -f --memory=1m --threshold=32k \"$2\""
        let words = ["-c", script, "sh", Sandbox.executable.string, sandbox.mountPoint.string]
        let mount = try await sandbox.withRunning("sh", words) { program in
          try #require(await eventually { sandbox.mounts.count == 1 })
          let filling = try await sandbox.inMount(Self.fill)
          #expect(filling.exitCode == 9, "\(filling.testDescription)")
          program.send(SIGTERM)
        }
        #expect(mount.outcome.exitCode == 0, "\(mount.outcome.testDescription)")
        #expect(mount.outcome.errorText == Self.message)
        #expect(sandbox.mounts.isEmpty)
      }
    }
  }
}
