import Glibc
import SystemPackage
import Testing

extension CommandTests {
  /// `spoolfs run`: what the program finds, and what we make of its end.
  @Suite(.serialized, .timeLimit(.minutes(10))) struct Run {
    // MARK: What the program finds

    @Test(arguments: Sandbox.users)
    func theProgramHasAPrivateTemporaryDirectory(of user: uid_t?) async throws {
      try await Sandbox.with(user: user) { sandbox in
        let script = """
          test "$TMPDIR" = "$TMP" && test "$TMPDIR" = "$TEMP" && echo "$TMPDIR" && echo "$KEPT"
          stat -c '%a %u' "$TMPDIR" "$TMPDIR/.." && stat -f -c %T "$TMPDIR" && echo data > "$TMPDIR/f" && cat "$TMPDIR/f"
          ls -A "$TMPDIR"
          """
        let outcome = try await sandbox.spoolfs(
          ["run", "--", "sh", "-c", script], environment: ["KEPT": "as it was", "TMP": "/elsewhere"])
        let lines = outcome.text.split(separator: "\n").map(String.init)
        try #require(outcome.succeeded && lines.count == 7, "\(outcome.testDescription)")
        #expect(FilePath(lines[0]).starts(with: sandbox.runtimeDirectory))
        #expect(lines[1] == "as it was")
        let owner = "700 \(user ?? getuid())"
        #expect(Array(lines[2...3]) == [owner, owner])
        #expect(lines[4] == "fuseblk" || lines[4] == "fuse")
        #expect(Array(lines[5...]) == ["data", "f"])
        #expect(!FilePath(lines[0]).removingLastComponent().exists)
        #expect(outcome.errorOutput.isEmpty)
      }
    }

    /// What most kernels lack is nothing to disturb anybody with, unless it was asked for.
    @Test func whyThereIsNoRingIsToldToWhoAsks() async throws {
      let isOn = (try? readText("/sys/module/fuse/parameters/enable_uring"))?.hasPrefix("Y") == true
      try await Sandbox.with { sandbox in
        #expect(try await sandbox.spoolfs(["run", "true"]).errorOutput.isEmpty)
        let outcome = try await sandbox.spoolfs(["run", "--transport", "auto", "true"])
        #expect(outcome.succeeded)
        if isOn {
          #expect(outcome.errorOutput.isEmpty, "\(outcome.testDescription)")
        } else {
          #expect(outcome.errorText.hasPrefix("spoolfs: serving over /dev/fuse, since "), "\(outcome.testDescription)")
          #expect(outcome.errorText.filter { $0 == "\n" }.count == 1)
        }
        #expect(try await sandbox.spoolfs(["run", "--transport", "device", "true"]).errorOutput.isEmpty)
      }
    }

    private func readText(_ path: String) throws -> String {
      let file = try FileDescriptor.open(FilePath(path), .readOnly)
      return try file.closeAfter {
        try String(unsafeUninitializedCapacity: 64) { try file.read(into: UnsafeMutableRawBufferPointer($0)) }
      }
    }

    @Test func aUnixSocketFitsIntoItsPath() async throws {
      try await Sandbox.with { sandbox in
        let script = """
          import os, socket
          path = os.path.join(os.environ["TMPDIR"], "a-rather-long-name-for-the-socket-of-a-program")
          server = socket.socket(socket.AF_UNIX); server.bind(path); server.listen()
          client = socket.socket(socket.AF_UNIX); client.connect(path); client.send(b"hello")
          print(server.accept()[0].recv(5).decode())
          """
        let outcome = try await sandbox.spoolfs(["run", "python3", "-c", script])
        #expect(outcome.text == "hello\n", "\(outcome.testDescription)")
      }
    }

    @Test func inputOutputDescriptorsAndDirectoryAreThoseOfTheCaller() async throws {
      try await Sandbox.with { sandbox in
        let script = """
          echo in | "$1" run -- sh -c 'cat; echo out; echo err >&2; cat <&5; pwd; ls /proc/self/fd | wc -l' 5<<END
          five
          END
          """
        let outcome = try await sandbox.shell(script, [Sandbox.executable.string])
        // 0, 1, 2, 5 and the one that ls reads: nothing of ours.
        #expect(outcome.text == "in\nout\nfive\n\(sandbox.work)\n5\n", "\(outcome.testDescription)")
        #expect(outcome.errorText == "err\n")
      }
    }

    @Test func closedDescriptorsStayClosed() async throws {
      try await Sandbox.with { sandbox in
        let script = "\"$1\" run -- sh -c 'ls /proc/self/fd > list' <&- >&- 2>&-; cat list"
        let outcome = try await sandbox.shell(script, [Sandbox.executable.string])
        // The list itself and what ls reads; the numbers of closed descriptors are taken by these.
        #expect(outcome.text.split(separator: "\n").count == 2, "\(outcome.testDescription)")
      }
    }

    @Test func argumentsAreBytes() async throws {
      try await Sandbox.with { sandbox in
        let script = #""$1" run -- printf '%s|' "$(printf 'a\377b')" -x --size '' "two words" -- | od -An -c"#
        let outcome = try await sandbox.shell(script, [Sandbox.executable.string])
        let expected = try await sandbox.shell(#"printf 'a\377b|-x|--size||two words|--|' | od -An -c"#)
        #expect(outcome.text == expected.text, "\(outcome.testDescription)")
      }
    }

    @Test func theEnvironmentIsBytes() async throws {
      try await Sandbox.with { sandbox in
        let script = #"ODD="$(printf 'a\377b')" "$1" run -- sh -c 'printf %s "$ODD"' | od -An -c"#
        let outcome = try await sandbox.shell(script, [Sandbox.executable.string])
        #expect(outcome.text.split(separator: " ").joined() == "a377b\n", "\(outcome.testDescription)")
      }
    }

    @Test func theDashesAreOptional() async throws {
      try await Sandbox.with { sandbox in
        let outcome = try await sandbox.spoolfs(["run", "--size", "1m", "sh", "-c", "echo $1", "sh", "--size"])
        #expect(outcome.text == "--size\n", "\(outcome.testDescription)")
      }
    }

    @Test func limitsAndIgnoredSignalsAreThoseOfTheCaller() async throws {
      try await Sandbox.with { sandbox in
        let script = """
          ulimit -S -n 256; trap '' HUP
          "$1" run -- sh -c 'ulimit -S -n; kill -HUP $$; grep -E "^Sig(Blk|Ign)" /proc/self/status'
          grep -E "^Sig(Blk|Ign)" /proc/self/status
          """
        let outcome = try await sandbox.shell(script, [Sandbox.executable.string])
        let lines = outcome.text.split(separator: "\n")
        try #require(lines.count == 5, "\(outcome.testDescription)")
        #expect(lines[0] == "256")
        #expect(lines[1...2] == lines[3...4])
      }
    }

    @Test func aScriptWithoutInterpreterLineIsRunByTheShell() async throws {
      try await Sandbox.with { sandbox in
        let script = sandbox.work.appending("script")
        try script.write("echo \"$0 $1\"\n".utf8)
        chmod(script.string, 0o755)
        #expect(try await sandbox.spoolfs(["run", script.string, "x"]).text == "\(script) x\n")
        let path = "\(sandbox.work):/usr/bin:/bin"
        let found = try await sandbox.spoolfs(["run", "script", "y"], environment: ["PATH": path])
        #expect(found.text == "\(script) y\n", "\(found.testDescription)")
      }
    }

    // MARK: How it ends

    @Test(arguments: Sandbox.users)
    func theStatusIsTheProgramsOr128AndTheSignal(of user: uid_t?) async throws {
      try await Sandbox.with(user: user) { sandbox in
        for (script, status) in [("exit 0", 0), ("exit 42", 42), ("kill -TERM $$", 143), ("kill -KILL $$", 137)] {
          let outcome = try await sandbox.spoolfs(["run", "--", "sh", "-c", script])
          #expect(outcome.exitCode == Int32(status), "\(script): \(outcome.testDescription)")
          #expect(outcome.errorOutput.isEmpty)
        }
      }
    }

    @Test func aProgramThatIsNotThereIs127() async throws {
      try await Sandbox.with { sandbox in
        for name in ["no-such-program", "./no-such-program", "/nonexistent/program"] {
          let outcome = try await sandbox.spoolfs(["run", name])
          #expect(outcome.exitCode == 127)
          #expect(outcome.errorText == "spoolfs: cannot run '\(name)': No such file or directory\n")
        }
      }
    }

    @Test func aProgramThatCannotBeExecutedIs126() async throws {
      try await Sandbox.with { sandbox in
        try sandbox.work.appending("data").write("text".utf8)
        for name in ["./data", "/etc"] {
          let outcome = try await sandbox.spoolfs(["run", name])
          #expect(outcome.exitCode == 126)
          #expect(outcome.errorText == "spoolfs: cannot run '\(name)': Permission denied\n")
        }
      }
    }

    @Test func ourOwnFailuresAre125() async throws {
      try await Sandbox.with { sandbox in
        for arguments in [
          [], ["--bogus", "true"], ["--size", "1x", "true"], ["--spill-dir", "/nonexistent", "true"],
        ] {
          let outcome = try await sandbox.spoolfs(["run"] + arguments)
          #expect(outcome.exitCode == 125, "\(arguments): \(outcome.testDescription)")
          #expect(!outcome.errorOutput.isEmpty)
        }
      }
    }

    @Test func treesOfTwoRunsAreApart() async throws {
      try await Sandbox.with { sandbox in
        let inner = "test ! -e \"$TMPDIR/outer\" && touch \"$TMPDIR/inner\" && echo \"$TMPDIR\""
        let outer = """
          touch "$TMPDIR/outer"; echo "$TMPDIR"; '\(Sandbox.executable)' run -- sh -c '\(inner)'; ls -A "$TMPDIR"
          """
        let outcome = try await sandbox.spoolfs(["run", "--", "sh", "-c", outer])
        let lines = outcome.text.split(separator: "\n")
        #expect(lines.count == 3 && lines[0] != lines[1] && lines[2] == "outer", "\(outcome.testDescription)")
      }
    }

    // MARK: Leftovers

    @Test(arguments: Sandbox.users)
    func whoKeepsRunWaitingIsTold(of user: uid_t?) async throws {
      try await Sandbox.with(user: user) { sandbox in
        let go = sandbox.work.appending("go")
        let script = "cd \"$TMPDIR\"; sh -c 'while [ ! -e \"$1\" ]; do sleep 0.05; done' background '\(go)' & exit 6"
        let run = try await sandbox.withRunning(Sandbox.executable.string, ["run", "--", "sh", "-c", script]) {
          program in
          #expect(await eventually { program.errorTextSoFar.contains("waiting for programs that still use") })
          #expect(program.errorTextSoFar.contains(" (sh)"))
          #expect(sandbox.mounts.count == 1)
          try go.write([])
        }
        #expect(run.outcome.exitCode == 6)
      }
    }

    @Test(arguments: [SIGINT, SIGTERM, SIGHUP])
    func anInterruptEndsTheWait(signal: Int32) async throws {
      try await Sandbox.with { sandbox in
        let script = "cd \"$TMPDIR\"; trap '' INT HUP TERM; sleep 1000 & exit 6"
        let run = try await sandbox.withRunning(Sandbox.executable.string, ["run", "--", "sh", "-c", script]) {
          program in
          #expect(await eventually { program.errorTextSoFar.contains("interrupt to detach it") })
          program.send(signal)
        }
        #expect(run.outcome.exitCode == 6)
        #expect(run.outcome.errorText.contains("detached the temporary directory"))
        #expect(run.outcome.errorText.contains("(sleep)"))
        #expect(sandbox.mounts.isEmpty)
        for process in sandbox.processes { kill(process.identifier, SIGKILL) }
      }
    }

    @Test(.enabled(if: Sandbox.users.count > 1, "takes a user without privileges"))
    func aRefusedUnmountIsToldAndNotWaitedFor() async throws {
      try await Sandbox.with(user: Sandbox.nobody) { sandbox in
        let helper = sandbox.work.appending("fusermount3")
        try helper.write(
          "#!/bin/sh\n[ \"$1\" != -u ] || { echo no way >&2; exit 1; }\nexec /usr/bin/fusermount3 \"$@\"\n".utf8)
        chmod(helper.string, 0o755)
        let path = "\(sandbox.work):/usr/bin:/bin"
        let outcome = try await sandbox.spoolfs(["run", "sh", "-c", "exit 4"], environment: ["PATH": path])
        #expect(outcome.exitCode == 4)
        #expect(outcome.errorText.contains("cannot unmount \(sandbox.runtimeDirectory)/"))
        #expect(outcome.errorText.contains("no way\n"), "\(outcome.testDescription)")
        #expect(outcome.errorText.contains("spoolfs: cannot remove \(sandbox.runtimeDirectory)/"))
        // With the real one the next run clears it away.
        try await sandbox.spoolfs(["run", "true"]).expect("")
      }
    }

    /// Run and its guardian both killed, as when a job's whole control group is: the next run clears up.
    @Test(arguments: Sandbox.users)
    func theNextRunClearsUpAfterADeadOne(of user: uid_t?) async throws {
      try await Sandbox.with(user: user) { sandbox in
        let script = ": > ready; while touch \"$TMPDIR/file\" 2>/dev/null; do sleep 0.05; done"
        _ = try await sandbox.withRunning(Sandbox.executable.string, ["run", "--", "sh", "-c", script]) { program in
          try #require(await eventually { sandbox.work.appending("ready").exists })
          let guardians = sandbox.processes.filter { $0.command.contains(" guard-mount ") }
          try #require(guardians.count == 1)
          kill(guardians[0].identifier, SIGKILL)
          program.send(SIGKILL)
        }
        try #require(await eventually { sandbox.processes.isEmpty })
        #expect(sandbox.mounts.count == 1)
        #expect(sandbox.runtimeDirectory.entries.count == 1)
        let next = try await sandbox.spoolfs(["run", "--", "sh", "-c", "ls \"$SPOOLFS_RUN_DIR\" | wc -l"])
        #expect(next.text == "1\n", "\(next.testDescription)")
        #expect(sandbox.mounts.isEmpty)
      }
    }

    @Test func aLivingRunIsLeftAlone() async throws {
      try await Sandbox.with { sandbox in
        let script = """
          kill -STOP $PPID
          """
        // A stopped server does not answer; who looks for dead ones must not ask it.
        _ = try await sandbox.withRunning(Sandbox.executable.string, ["run", "--", "sh", "-c", script]) { program in
          try #require(await eventually { isStopped(program.process) })
          let other = try await sandbox.spoolfs(["run", "--", "sh", "-c", "ls \"$SPOOLFS_RUN_DIR\" | wc -l"])
          #expect(other.text == "2\n", "\(other.testDescription)")
          #expect(sandbox.mounts.count == 1)
          program.send(SIGCONT)
        }
      }
    }
  }
}

/// Whether the process is stopped (SIGSTOP and the like).
func isStopped(_ process: pid_t) -> Bool {
  let status = String(decoding: FilePath("/proc/\(process)/stat").bytes, as: UTF8.self)
  return status.split(separator: ")").last?.split(separator: " ").first == "T"
}
