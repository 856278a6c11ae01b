import Glibc
import SystemPackage
import Testing

extension CommandTests {
  /// Mounts whose server has died, is stopped, never answers, or goes on after the unmount.
  @Suite(.serialized, .timeLimit(.minutes(10))) struct Hangs {
    // MARK: Aborted connections

    /// Aborts the connection of the one mount of the sandbox, by a control filesystem of its own if need be.
    private func abort(_ sandbox: Sandbox) async throws {
      let script = """
        cd /sys/fs/fuse/connections && { mountpoint -q . || { mount -t fusectl none . && cd "$PWD"; }; } &&
        echo 1 > "$(awk -v d="$1" '$5 == d { split($3, a, ":"); print a[2] }' /proc/self/mountinfo)/abort"
        """
      let path = try #require(sandbox.mounts.first?.path)
      try await sandbox.runAsRoot("unshare", ["--mount", "sh", "-c", script, "sh", path.string]).expect("")
    }

    @Test(.enabled(if: getuid() == 0, "takes root to abort"), arguments: Sandbox.users)
    func theTreeOfRunGoesThoughItsConnectionIsAborted(user: uid_t?) async throws {
      try await Sandbox.with(user: user) { sandbox in
        let go = sandbox.work.appending("go")
        let script = "ls -la \"$TMPDIR\" && : > \"$1.ready\"; until [ -e \"$1\" ]; do sleep 0.05; done"
        let arguments = ["run", "--", "sh", "-c", script, "sh", go.string]
        _ = try await sandbox.withRunning(Sandbox.executable.string, arguments) { _ in
          try #require(await eventually { FilePath("\(go).ready").exists })
          try await abort(sandbox)
          try go.write([])
        }
        #expect(sandbox.mounts.isEmpty && sandbox.runtimeDirectory.entries.isEmpty)
      }
    }

    @Test(.enabled(if: getuid() == 0, "takes root to abort"), arguments: Sandbox.users)
    func anAbortedMountGoesWithItsServer(user: uid_t?) async throws {
      try await Sandbox.with(user: user) { sandbox in
        try await sandbox.spoolfs(["mount", sandbox.mountPoint.string]).expect("")
        try await sandbox.inMount("ls -la . >/dev/null")
        try await abort(sandbox)
        #expect(await eventually { sandbox.mounts.isEmpty && sandbox.processes.isEmpty })
      }
    }

    // MARK: Without /etc/mtab

    /// Runs `script` as nobody where /etc/mtab is missing, with what `setUp` says done before.
    private func withoutMountTable(_ sandbox: Sandbox, _ setUp: String, _ arguments: [String]) async throws -> Outcome {
      let script = """
        cp -a /etc/. "$SPOOLFS_TEST_SANDBOX/work/" && rm "$SPOOLFS_TEST_SANDBOX/work/mtab" &&
        mount --bind "$SPOOLFS_TEST_SANDBOX/work" /etc && \(setUp) &&
        exec setpriv --reuid=\(Sandbox.nobody) --regid=\(Sandbox.nobody) --clear-groups "$@"
        """
      return try await sandbox.run("unshare", ["--mount", "sh", "-c", script, "sh"] + arguments)
    }

    private func giveToNobody(_ sandbox: Sandbox) {
      for path in [
        sandbox.directory, sandbox.mountPoint, sandbox.spillDirectory, sandbox.runtimeDirectory,
      ] {
        chown(path.string, Sandbox.nobody, Sandbox.nobody)
      }
    }

    @Test(.enabled(if: Sandbox.users.count > 1, "takes a user without privileges"))
    func ordinaryUsersUnmountWithoutTheOldMountTable() async throws {
      try await Sandbox.with { sandbox in
        giveToNobody(sandbox)
        let script =
          "\"$1\" mount \"$2\" && echo > \"$2/file\" && \"$1\" unmount \"$2\" && ls \"$2\" && \"$1\" run true"
        try await withoutMountTable(
          sandbox, "true", ["sh", "-c", script, "sh", Sandbox.executable.string, sandbox.mountPoint.string]
        ).expect("")
      }
    }

    @Test(.enabled(if: Sandbox.users.count > 1, "takes a user without privileges"))
    func ordinaryUsersDoNotMountWhatTheyCouldNotUnmount() async throws {
      try await Sandbox.with { sandbox in
        giveToNobody(sandbox)
        // umount(8) that is no setuid program, as in many containers.
        let setUp = """
          cp /bin/umount "$SPOOLFS_TEST_SANDBOX/umount" && mount --bind "$SPOOLFS_TEST_SANDBOX/umount" /usr/bin/umount
          """
        for (arguments, status) in [(["mount", sandbox.mountPoint.string], 71), (["run", "true"], 125)] {
          let outcome = try await withoutMountTable(sandbox, setUp, [Sandbox.executable.string] + arguments)
          #expect(outcome.exitCode == Int32(status), "\(outcome.testDescription)")
          #expect(outcome.errorText.contains("'ln -sf /proc/self/mounts /etc/mtab'"))
        }
      }
    }

    // MARK: Servers that do not answer

    /// `spoolfs` with an end, should it wait for the server after all.
    private func bounded(_ sandbox: Sandbox, _ arguments: [String]) async throws -> Outcome {
      try await sandbox.run("timeout", ["--kill-after=1", "60", Sandbox.executable.string] + arguments)
    }

    /// Runs `body` while the process is stopped; it goes on, or has ended, afterwards.
    private func withStopped<Result>(_ process: pid_t, _ body: () async throws -> Result) async throws -> Result {
      kill(process, SIGSTOP)
      defer { kill(process, SIGCONT) }
      return try await body()
    }

    @Test(arguments: Sandbox.users) func statusTellsOfAStoppedServerAndShowsTheOthers(user: uid_t?) async throws {
      try await Sandbox.with(user: user) { sandbox in
        let other = sandbox.work.appending("other")
        mkdir(other.string, 0o700)
        if let user { chown(other.string, user, user) }
        try await sandbox.spoolfs(["mount", sandbox.mountPoint.string]).expect("")
        let server = try #require(sandbox.serverProcess)
        try await sandbox.spoolfs(["mount", other.string]).expect("")
        try await withStopped(server) {
          let problem = "its server, process \(server), is stopped"
          let one = try await bounded(sandbox, ["status", sandbox.mountPoint.string])
          #expect(one.exitCode == 75, "\(one.testDescription)")
          #expect(one.errorText == "spoolfs: \(sandbox.mountPoint) does not answer: \(problem)\n")
          let all = try await bounded(sandbox, ["status"])
          #expect(all.exitCode == 75, "\(all.testDescription)")
          #expect(all.text.contains("  \(sandbox.mountPoint) (\(problem))\n"), "\(all.text)")
          let line = all.text.split(separator: "\n").first { $0.hasSuffix("  \(other)") }
          #expect(line?.contains(" GiB ") == true, "\(all.text)")
          let json = try await bounded(sandbox, ["status", "--json"])
          #expect(json.exitCode == 75 && json.text.contains("\"error\":\"\(problem)\""), "\(json.testDescription)")
        }
        for path in [sandbox.mountPoint, other] { try await sandbox.spoolfs(["unmount", path.string]).expect("") }
      }
    }

    /// A mount of type fuse.spoolfs whose server takes every request and answers none but the first. It ends when the
    /// connection does.
    private static let silentServer = """
      import ctypes, os, signal, struct, sys
      signal.alarm(300)
      device = os.open("/dev/fuse", os.O_RDWR)
      options = f"fd={device},rootmode=40000,user_id=0,group_id=0"
      libc = ctypes.CDLL(None, use_errno=True)
      if libc.mount(b"silent", sys.argv[1].encode(), b"fuse.spoolfs", 6, options.encode()) != 0: sys.exit(3)
      request = os.read(device, 1 << 17)
      unique = struct.unpack_from("=IIQ", request)[2]
      reply = struct.pack("=IIIIHHIIHHI28x", 7, 31, 65536, 0, 12, 12, 65536, 1, 16, 0, 0)
      os.write(device, struct.pack("=IiQ", 16 + len(reply), 0, unique) + reply)
      open(sys.argv[2], "w").close()
      try:
        while True: os.read(device, 1 << 17)
      except OSError: pass
      """

    @Test(.enabled(if: getuid() == 0, "takes a server of its own"))
    func aMountThatNeverAnswersHangsNobody() async throws {
      try await Sandbox.with { sandbox in
        let ready = sandbox.work.appending("ready")
        let arguments = ["-c", Self.silentServer, sandbox.mountPoint.string, ready.string]
        let server = try await sandbox.withRunning("python3", arguments) { program in
          defer { program.send(SIGKILL) }
          try #require(await eventually { ready.exists })
          let status = try await bounded(sandbox, ["status", sandbox.mountPoint.string])
          #expect(status.exitCode == 75, "\(status.testDescription)")
          #expect(status.errorText.contains("does not answer: its server takes longer than two seconds"))
          #expect(try await bounded(sandbox, ["status"]).exitCode == 75)
          let second = try await bounded(sandbox, ["mount", sandbox.mountPoint.string])
          #expect(second.exitCode == 73, "\(second.testDescription)")
          // Whoever asked is still there, and cannot be killed.
          let refused = try await bounded(sandbox, ["unmount", sandbox.mountPoint.string])
          #expect(refused.exitCode == 75, "\(refused.testDescription)")
          try await bounded(sandbox, ["unmount", "--force", sandbox.mountPoint.string]).expect("")
          #expect(sandbox.mounts.isEmpty)
          #expect(await eventually { !isAlive(program.process) })
        }
        #expect(server.outcome.exitCode == 0, "\(server.outcome.testDescription)")
      }
    }

    // MARK: Servers that go on after the unmount

    @Test(arguments: Sandbox.users) func unmountTellsThatAStoppedServerGoesOn(user: uid_t?) async throws {
      try await Sandbox.with(user: user) { sandbox in
        try await sandbox.spoolfs(["mount", sandbox.mountPoint.string]).expect("")
        let server = try #require(sandbox.serverProcess)
        try await withStopped(server) {
          let outcome = try await bounded(sandbox, ["unmount", sandbox.mountPoint.string])
          #expect(outcome.exitCode == 75, "\(outcome.testDescription)")
          #expect(
            outcome.errorText.contains("its server, process \(server), goes on and holds memory and disk space: "))
          #expect(outcome.errorText.hasSuffix("it is stopped\n"))
          #expect(sandbox.mounts.isEmpty && isAlive(server))
        }
        #expect(await eventually { !isAlive(server) })
      }
    }

    @Test(arguments: Sandbox.users) func forceEndsAStoppedServerThatIsInUse(user: uid_t?) async throws {
      try await Sandbox.with(user: user) { sandbox in
        try await sandbox.spoolfs(["mount", sandbox.mountPoint.string]).expect("")
        let server = try #require(sandbox.serverProcess)
        let script = "cd \"$1\" && exec sleep 1000"
        _ = try await sandbox.withRunning("sh", ["-c", script, "sh", sandbox.mountPoint.string]) { program in
          defer { program.send(SIGKILL) }
          let directory = FilePath("/proc/\(program.process)/cwd")
          try #require(await eventually { directory.target == sandbox.mountPoint.string })
          try await withStopped(server) {
            let busy = try await bounded(sandbox, ["unmount", sandbox.mountPoint.string])
            #expect(busy.exitCode == 75 && busy.errorText.hasSuffix("is stopped; --force ends it\n"), "\(busy)")
            try await bounded(sandbox, ["unmount", "--force", sandbox.mountPoint.string]).expect("")
            #expect(sandbox.mounts.isEmpty && !isAlive(server))
          }
        }
      }
    }

    @Test(.enabled(if: getuid() == 0, "takes bind mounts"))
    func unmountTellsWhereElseTheTreeIsMounted() async throws {
      try await Sandbox.with { sandbox in
        let copy = sandbox.work.appending("copy")
        mkdir(copy.string, 0o700)
        try await sandbox.spoolfs(["mount", sandbox.mountPoint.string]).expect("")
        let server = try #require(sandbox.serverProcess)
        try await sandbox.run("mount", ["--bind", sandbox.mountPoint.string, copy.string]).expect("")
        let outcome = try await sandbox.spoolfs(["unmount", sandbox.mountPoint.string])
        #expect(outcome.exitCode == 75, "\(outcome.testDescription)")
        #expect(outcome.errorText.hasSuffix(": it is mounted at \(copy) as well\n"), "\(outcome.errorText)")
        #expect(isAlive(server))
        try await sandbox.run("umount", [copy.string]).expect("")
        #expect(await eventually { !isAlive(server) })
      }
    }

    @Test(.enabled(if: getuid() == 0, "takes a mount namespace of its own"))
    func unmountTellsWhichNamespaceHasTheTree() async throws {
      try await Sandbox.with { sandbox in
        try await sandbox.spoolfs(["mount", sandbox.mountPoint.string]).expect("")
        let server = try #require(sandbox.serverProcess)
        _ = try await sandbox.withRunning("unshare", ["--mount", "sleep", "1000"]) { program in
          defer { program.send(SIGKILL) }
          let command = FilePath("/proc/\(program.process)/comm")
          try #require(await eventually { command.bytes.elementsEqual("sleep\n".utf8) })
          let outcome = try await sandbox.spoolfs(["unmount", sandbox.mountPoint.string])
          #expect(outcome.exitCode == 75, "\(outcome.testDescription)")
          let copy =
            "it is mounted at \(sandbox.mountPoint) in the mount namespace of process \(program.process) (sleep)"
          #expect(outcome.errorText.hasSuffix(": \(copy)\n"), "\(outcome.errorText)")
        }
        #expect(await eventually { !isAlive(server) })
      }
    }
  }
}
