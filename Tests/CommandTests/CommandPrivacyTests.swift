import Glibc
import SystemPackage
import Testing

extension CommandTests {
  /// What the serving process has stays with it.
  @Suite(.serialized, .timeLimit(.minutes(10))) struct Privacy {
    /// Tries to get at another process of the same user; for the parent without an argument.
    private static let intruder = """
      import ctypes, os, sys
      process = int(sys.argv[1]) if len(sys.argv) > 1 else os.getppid()
      libc = ctypes.CDLL(None, use_errno=True)
      seize = 0x4206
      print("traced" if libc.ptrace(seize, process, None, None) == 0 else "not traced")
      for name in "mem", "environ":
        try:
          open(f"/proc/{process}/{name}", "rb").close()
          print(name)
        except PermissionError: print("no", name)
      """

    private static let refusals = "not traced\nno mem\nno environ\n"

    @Test(.enabled(if: Sandbox.users.count > 1, "takes a user without privileges"))
    func othersOfTheSameUserCannotGetAtTheServer() async throws {
      try await Sandbox.with(user: Sandbox.nobody) { sandbox in
        try await sandbox.spoolfs(["run", "--", "/usr/bin/python3", "-c", Self.intruder]).expect(Self.refusals)
        try await sandbox.spoolfs(["mount", sandbox.mountPoint.string]).expect("")
        let server = try #require(sandbox.serverProcess)
        try await sandbox.run("/usr/bin/python3", ["-c", Self.intruder, String(server)]).expect(Self.refusals)
        // Everything else is as before: what the server finds out about callers, and what others find out about it.
        try await sandbox.inMount("echo data > file && cat file && grep -c '\"command\":\"sh\"' .spoolfs/files")
          .expect("data\n1\n")
        #expect(try await sandbox.spoolfs(["status", sandbox.mountPoint.string]).succeeded)
        try await sandbox.spoolfs(["unmount", sandbox.mountPoint.string]).expect("")
        #expect(!isAlive(server))
      }
    }

    private static var coresGoToTheWorkingDirectory: Bool {
      let pattern = FilePath("/proc/sys/kernel/core_pattern").bytes
      return pattern.first != UInt8(ascii: "|") && !pattern.contains(UInt8(ascii: "/"))
    }

    @Test(.enabled(if: coresGoToTheWorkingDirectory, "cores go elsewhere"))
    func theServerLeavesNoCoreDump() async throws {
      try await Sandbox.with { sandbox in
        // A signal that leaves a core dump and that nobody catches: Swift's runtime has handlers for most.
        let script =
          "ulimit -c unlimited; exec \"$1\" run -- sh -c 'echo secret > $TMPDIR/f; kill -SYS $PPID; sleep 1'"
        let outcome = try await sandbox.shell(script, [Sandbox.executable.string], in: sandbox.work)
        #expect(outcome.signal == SIGSYS, "\(outcome.testDescription)")
        #expect(await eventually { sandbox.processes.isEmpty })
        #expect(sandbox.work.entries.isEmpty)
      }
    }

    // MARK: Swap

    private func lockedKilobytes(_ process: pid_t) -> Int {
      let status = String(decoding: FilePath("/proc/\(process)/status").bytes, as: UTF8.self)
      let line = status.split(separator: "\n").first { $0.hasPrefix("VmLck:") }
      return line.flatMap { Int($0.filter(\.isNumber)) } ?? 0
    }

    @Test(
      .enabled(
        if: getuid() == 0 && dlsym(nil, "__asan_init") == nil && dlsym(nil, "__tsan_init") == nil,
        "takes root; sanitizers lock nothing"), arguments: [["--no-swap"], ["-o", "noswap"], ["-o", "no_swap"]])
    func theMemoryTierStaysOutOfSwap(option: [String]) async throws {
      try await Sandbox.with { sandbox in
        try await sandbox.spoolfs(["mount"] + option + ["--memory=64m", sandbox.mountPoint.string]).expect("")
        let server = try #require(sandbox.serverProcess)
        try await sandbox.inMount("head -c 20000000 /dev/zero > large && echo small > small && sync large small")
          .expect("")
        #expect(lockedKilobytes(server) > 20_000_000 >> 10)
        // What is mapped is locked: the data of small files, of large ones, and what is read and written through.
        let maps = String(decoding: FilePath("/proc/\(server)/smaps").bytes, as: UTF8.self).split(separator: "\n")
        let flags = maps.filter { $0.hasPrefix("VmFlags:") && $0.contains(" wr ") }
        #expect(!flags.isEmpty && flags.allSatisfy { $0.contains(" lo ") }, "\(flags.filter { !$0.contains(" lo ") })")
        try await sandbox.inMount("rm large && cat small").expect("small\n")
        try await sandbox.spoolfs(["unmount", sandbox.mountPoint.string]).expect("")
      }
    }

    @Test(.enabled(if: Sandbox.users.count > 1, "takes a user without privileges"))
    func aLimitOfLockedMemoryDecides() async throws {
      try await Sandbox.with { sandbox in
        for path in [sandbox.directory, sandbox.mountPoint, sandbox.runtimeDirectory, sandbox.spillDirectory] {
          chown(path.string, Sandbox.nobody, Sandbox.nobody)
        }
        func limited(_ limit: String, _ arguments: [String]) async throws -> Outcome {
          let words = [
            "--reuid=\(Sandbox.nobody)", "--regid=\(Sandbox.nobody)", "--clear-groups", Sandbox.executable.string,
          ]
          return try await sandbox.run("prlimit", ["--memlock=\(limit)", "setpriv"] + words + arguments)
        }
        for (arguments, status) in [
          (["mount", "--no-swap", sandbox.mountPoint.string], 71), (["run", "-o", "noswap", "true"], 125),
        ] {
          let outcome = try await limited("8388608", arguments)
          #expect(outcome.exitCode == Int32(status), "\(outcome.testDescription)")
          #expect(
            outcome.errorText.contains("--no-swap cannot lock memory: 'ulimit -l' is 8 MiB, and with --memory "),
            "\(outcome.errorText)")
        }
        // Not every root may raise a limit.
        guard try await sandbox.run("prlimit", ["--memlock=unlimited", "true"]).succeeded else { return }
        let script = "head -c 30000000 /dev/zero > $TMPDIR/f; cat $TMPDIR/f | wc -c"
        for limit in ["8589934592", "unlimited"] {
          try await limited(limit, ["run", "--no-swap", "--memory=64m", "--", "sh", "-c", script]).expect("30000000\n")
        }
      }
    }
  }
}
