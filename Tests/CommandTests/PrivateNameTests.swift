import Glibc
import SystemPackage
import Testing

extension CommandTests {
  /// The path that programs have as TMPDIR: whose it is, and what it leads to when its server has gone.
  @Suite(.serialized, .timeLimit(.minutes(10))) struct PrivateName {
    /// A program that goes on in the background with TMPDIR in its environment. It writes there when told to.
    private func background(_ sandbox: Sandbox) -> String {
      """
      echo "$TMPDIR" > '\(sandbox.work)/path'
      setsid sh -c 'cd /; while [ ! -e "$1/go" ]; do sleep 0.05; done; echo data > "$TMPDIR/file"; : > "$1/seen"
      while [ ! -e "$1/end" ]; do sleep 0.05; done' sh '\(sandbox.work)' > /dev/null 2>&1 &
      """
    }

    /// The private directory that the background program has.
    private func directory(_ sandbox: Sandbox) -> FilePath {
      let text = String(decoding: sandbox.work.appending("path").bytes.dropLast(), as: UTF8.self)
      return FilePath(text).removingLastComponent()
    }

    /// Whether somebody else can have the name.
    private func canBeTaken(_ name: FilePath, _ sandbox: Sandbox) async throws -> Bool {
      let stranger = [
        "--reuid=12345", "--regid=12345", "--clear-groups", "ln", "-sT", sandbox.work.string, name.string,
      ]
      if try await sandbox.runAsRoot("setpriv", stranger).succeeded {
        unlink(name.string)
        return true
      }
      return false
    }

    private func mode(_ path: FilePath) -> UInt32? {
      var status = Glibc.stat()
      return lstat(path.string, &status) == 0 ? status.st_mode & 0o7777 : nil
    }

    // MARK: How long it is kept

    @Test(.enabled(if: getuid() == 0, "takes another user"), arguments: ["wait", "lazy"], Sandbox.users)
    func isNobodyElsesWhileAProgramHasIt(policy: String, of user: uid_t?) async throws {
      try await Sandbox.with(user: user) { sandbox in
        try sandbox.shareRunDirectory()
        let script = background(sandbox) + "\nexit 6"
        let outcome = try await sandbox.spoolfs(["run", "--leftover", policy, "--", "sh", "-c", script])
        #expect(outcome.exitCode == 6, "\(outcome.testDescription)")
        let name = directory(sandbox)
        #expect(name.removingLastComponent() == sandbox.runtimeDirectory)
        #expect(sandbox.mounts.isEmpty && sandbox.servers.isEmpty)
        #expect(mode(name) == 0o500 && name.entries.isEmpty)
        #expect(try await canBeTaken(name, sandbox) == false)
        try sandbox.work.appending("go").write([])
        try #require(await eventually { sandbox.work.appending("seen").exists })
        #expect(name.entries.isEmpty)
        try sandbox.work.appending("end").write([])
        // The sandbox's own check would do, but for how long the guardian waits.
        #expect(await eventually { !name.exists && sandbox.processes.isEmpty })
      }
    }

    /// It may stay for long.
    @Test func theGuardianThatKeepsItHoldsNothingElse() async throws {
      try await Sandbox.with { sandbox in
        try sandbox.shareRunDirectory()
        let pipeline =
          "\"$1\" run -- sh -c '\(background(sandbox).replacing("'", with: #"'\''"#))' 2>&1 | cat; echo over"
        try await sandbox.shell(pipeline, [Sandbox.executable.string]).expect("over\n")
        let guardian = try #require(sandbox.processes.first { $0.command.contains(" guard-mount ") }).identifier
        let descriptors = FilePath("/proc/\(guardian)/fd")
        // But for the moment in which it looks at others.
        let allowed: Set = ["/dev/null", directory(sandbox).string]
        let holdsNothing = await eventually {
          Set(descriptors.entries.compactMap { descriptors.appending($0).linkTarget }).isSubset(of: allowed)
        }
        #expect(holdsNothing)
        #expect(FilePath("/proc/\(guardian)/cwd").linkTarget == "/")
        try sandbox.work.appending("go").write([])
        try sandbox.work.appending("end").write([])
        #expect(await eventually { sandbox.processes.isEmpty })
      }
    }

    @Test(arguments: Sandbox.users) func isGoneWithTheRunThatNobodyOutlives(of user: uid_t?) async throws {
      try await Sandbox.with(user: user) { sandbox in
        try sandbox.shareRunDirectory()
        for _ in 0..<3 {
          try await sandbox.spoolfs(["run", "sh", "-c", "echo x > $TMPDIR/file"]).expect("")
          #expect(sandbox.runtimeDirectory.entries.isEmpty && sandbox.processes.isEmpty)
        }
      }
    }

    @Test(.enabled(if: getuid() == 0, "takes another user"), arguments: Sandbox.users)
    func theNextRunLeavesItToProgramsThatHaveIt(user: uid_t?) async throws {
      try await Sandbox.with(user: user) { sandbox in
        try sandbox.shareRunDirectory()
        let script = background(sandbox) + "\n: > '\(sandbox.work)/ready'; exec sleep 1000"
        _ = try await sandbox.withRunning(Sandbox.executable.string, ["run", "--", "sh", "-c", script]) { program in
          try #require(await eventually { sandbox.work.appending("ready").exists })
          let guardian = try #require(sandbox.processes.first { $0.command.contains(" guard-mount ") })
          kill(guardian.identifier, SIGKILL)
          program.send(SIGKILL)
        }
        for process in sandbox.processes where process.command == "sleep 1000" { kill(process.identifier, SIGKILL) }
        let name = directory(sandbox)
        try #require(await eventually { sandbox.processes.count == 1 })
        try await sandbox.spoolfs(["run", "true"]).expect("")
        #expect(sandbox.mounts.isEmpty && name.exists && name.entries.isEmpty)
        #expect(try await canBeTaken(name, sandbox) == false)
        try sandbox.work.appending("go").write([])
        try sandbox.work.appending("end").write([])
        try #require(await eventually { sandbox.processes.isEmpty })
        try await sandbox.spoolfs(["run", "true"]).expect("")
        #expect(!name.exists)
      }
    }

    // MARK: A server that is killed

    @Test(arguments: [false, true], Sandbox.users)
    func whoLosesItIsTold(inSharedDirectory isShared: Bool, of user: uid_t?) async throws {
      try await Sandbox.with(user: user) { sandbox in
        if isShared { try sandbox.shareRunDirectory() }
        let script = """
          echo "$TMPDIR" > '\(sandbox.work)/path'; : > '\(sandbox.work)/ready'
          while [ ! -e '\(sandbox.work)/end' ]; do sleep 0.05; done
          """
        let run = try await sandbox.withRunning(Sandbox.executable.string, ["run", "--", "sh", "-c", script]) {
          program in
          try #require(await eventually { sandbox.work.appending("ready").exists })
          program.send(SIGKILL)
          let name = directory(sandbox)
          #expect(await eventually { program.errorTextSoFar.hasSuffix("\n") })
          // An ordinary user's guardian is told when the server's parent has asked, which this process does later.
          let how = user == nil ? "was killed (signal 9)" : "was killed, or has crashed"
          #expect(
            program.errorTextSoFar == """
              spoolfs: the process that served \(name)/tmp (\(program.process)) \(how); the program has lost its TMPDIR \
              and everything in it

              """)
          #expect(await eventually { sandbox.mounts.isEmpty })
          if isShared {
            #expect(mode(name) == 0o500 && name.entries.isEmpty)
          } else {
            #expect(await eventually { !name.exists })
          }
          try sandbox.work.appending("end").write([])
        }
        #expect(run.outcome.signal == SIGKILL)
        #expect(await eventually { sandbox.processes.isEmpty })
      }
    }

    /// The pipe ends with the program, and not when somebody has waited for the rest.
    @Test func whoReadsWhatItWritesDoesNotWaitForTheGuardian() async throws {
      try await Sandbox.with { sandbox in
        try sandbox.shareRunDirectory()
        let script = #"""
          "$1" run -- sh -c 'setsid sh -c "while [ ! -e $0/end ]; do sleep 0.05; done" "$0" > /dev/null 2>&1 &
          kill -KILL $PPID; sleep 0.2' "$2" 2>&1 | cat
          echo over
          """#
        let outcome = try await sandbox.shell(script, [Sandbox.executable.string, sandbox.work.string])
        #expect(outcome.text.hasSuffix("over\n"), "\(outcome.testDescription)")
        #expect(sandbox.processes.contains { $0.command.contains(" guard-mount ") })
        try sandbox.work.appending("end").write([])
        #expect(await eventually { sandbox.processes.isEmpty })
      }
    }

    // MARK: Where it is

    @Test(.enabled(if: getuid() == 0, "takes a mount namespace of its own"), arguments: Sandbox.users)
    func isWhereOnlyRootCanWriteOrInTmp(of user: uid_t?) async throws {
      try await Sandbox.with(user: user) { sandbox in
        let place = user == nil ? "/run/spoolfs" : "/tmp"
        let script =
          "unset SPOOLFS_RUN_DIR; umask 077; mount -t tmpfs none /run && chmod 755 /run && mkdir -m 700 /run/user"
        let program = "echo $TMPDIR; dirname $(dirname $TMPDIR); stat -c '%a %u' \(place) $TMPDIR/.."
        let words = sandbox.commandLine(
          "env", ["XDG_RUNTIME_DIR=/run/user", Sandbox.executable.string, "run", "--", "sh", "-c", program])
        let outcome = try await sandbox.runAsRoot(
          "unshare", ["--mount", "sh", "-c", script + "; \"$@\"; ls /run/spoolfs", "sh"] + words)
        let lines = outcome.text.split(separator: "\n").map(String.init)
        try #require(lines.count == 4, "\(outcome.testDescription)")
        #expect(lines[1] == place)
        #expect(user == nil ? lines[2] == "755 0" : lines[2].hasPrefix("1777 "))
        #expect(lines[3] == "700 \(user ?? 0)")
        #expect(lines[0].utf8.count <= 26)
        #expect(!FilePath(lines[0]).removingLastComponent().exists)
      }
    }

    @Test(.enabled(if: getuid() == 0, "takes a mount namespace of its own"))
    func isInTmpWhereRunIsNotFitForIt() async throws {
      try await Sandbox.with { sandbox in
        for setUp in [
          "ln -s /tmp /run/spoolfs", "mkdir /run/spoolfs; chown 12345 /run/spoolfs",
          "mkdir /run/spoolfs; chmod 777 /run/spoolfs", "mount -o remount,ro /run", ": > /run/spoolfs",
        ] {
          let script = "unset SPOOLFS_RUN_DIR; mount -t tmpfs none /run && chmod 755 /run; \(setUp); exec \"$@\""
          let outcome = try await sandbox.run(
            "unshare",
            ["--mount", "sh", "-c", script, "sh", Sandbox.executable.string, "run", "sh", "-c", "echo $TMPDIR"])
          #expect(outcome.text.hasPrefix("/tmp/spoolfs-"), "\(setUp): \(outcome.testDescription)")
        }
      }
    }

    @Test(.enabled(if: Sandbox.users.count > 1, "takes a user without privileges"))
    func othersFindTheWayWhereTheyAreAllowedTo() async throws {
      try await Sandbox.with { sandbox in
        let script = "echo x > $TMPDIR/file; setpriv --reuid=12345 --regid=12345 --clear-groups cat $TMPDIR/file"
        chmod(sandbox.directory.string, 0o711)
        chmod(sandbox.runtimeDirectory.string, 0o711)
        try await sandbox.spoolfs(["run", "--allow-other", "sh", "-c", "umask 022; " + script]).expect("x\n")
        let outcome = try await sandbox.spoolfs(["run", "sh", "-c", "umask 022; " + script])
        #expect(outcome.exitCode == 1 && outcome.text.isEmpty, "\(outcome.testDescription)")
      }
    }

    @Test func aDirectoryThatWasNamedAndCannotBeUsedIsAnError() async throws {
      try await Sandbox.with { sandbox in
        let long = sandbox.work.appending(String(repeating: "x", count: 40)).string
        mkdir(long, 0o700)
        for (path, reason) in [
          ("relative", "Invalid argument"), ("/nonexistent", "No such file or directory"),
          (long, "File name too long"), ("/proc", nil), ("/etc/passwd", "Not a directory"),
        ] {
          let outcome = try await sandbox.spoolfs(["run", "true"], environment: ["SPOOLFS_RUN_DIR": path])
          #expect(outcome.exitCode == 125, "\(outcome.testDescription)")
          #expect(outcome.errorText.hasPrefix("spoolfs: cannot "), "\(outcome.testDescription)")
          if let reason {
            #expect(outcome.errorText == "spoolfs: cannot use \(path) (SPOOLFS_RUN_DIR): \(reason)\n")
          }
        }
      }
    }
  }
}
