import Glibc
import SystemPackage
import Testing

extension CommandTests {
  /// Which signals reach the program, from the terminal and from other processes.
  @Suite(.serialized, .timeLimit(.minutes(10))) struct Signals {
    /// Plays an interactive shell: gives a command line a terminal and a process group of its own in the foreground, types
    /// what it is told to as soon as the command has written what it is to wait for, and tells how it stopped or ended.
    private static let shell = """
      import os, pty, select, signal, sys, termios

      keys, command = sys.argv[1].encode().decode("unicode_escape").encode("latin-1"), sys.argv[2:]
      leader, terminal = pty.openpty()
      if os.fork() == 0:
          os.setsid()
          import fcntl
          fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
          signal.signal(signal.SIGTTOU, signal.SIG_IGN)
          job = os.fork()
          if job == 0:
              os.setpgid(0, 0)
              os.tcsetpgrp(terminal, os.getpid())
              signal.signal(signal.SIGTTOU, signal.SIG_DFL)
              for number in range(3): os.dup2(terminal, number)
              os.execvp(command[0], command)
          while True:
              _, status = os.waitpid(job, os.WUNTRACED)
              if not os.WIFSTOPPED(status): break
              os.write(terminal, b"stopped by %d\\n" % os.WSTOPSIG(status))
              os.tcsetpgrp(terminal, job)
              os.killpg(job, signal.SIGCONT)
          os.write(terminal, b"ended with %d\\n" % os.waitstatus_to_exitcode(status))
          os._exit(0)
      os.close(terminal)
      seen = b""
      while b"ended with" not in seen:
          data = os.read(leader, 4096)
          sys.stdout.buffer.write(data); sys.stdout.flush()
          seen += data
          if b"ready" in seen:
              seen = seen.replace(b"ready", b"")
              os.write(leader, keys[:1])
              keys = keys[1:]
      os.wait()
      """

    /// Runs `program`, a Python script, under `spoolfs run` in a terminal, and types one of `keys` at each of its "ready".
    private func inTerminal(_ sandbox: Sandbox, keys: String, program: String) async throws -> String {
      let outcome = try await sandbox.run(
        "python3", ["-c", Self.shell, keys, Sandbox.executable.string, "run", "--", "python3", "-u", "-c", program])
      return outcome.text.replacing("\r\n", with: "\n")
    }

    @Test func interruptsFromTheTerminalReachTheProgramOnceAndNotUs() async throws {
      try await Sandbox.with { sandbox in
        // ^C and ^\: each must arrive once, from the kernel, and leave us alive to serve the files.
        let program = #"""
          import os, signal, time
          got = []
          for number in signal.SIGINT, signal.SIGQUIT: signal.signal(number, lambda number, _: got.append(number))
          for count in 1, 2:
              print("ready")
              while len(got) < count: time.sleep(0.01)
              time.sleep(0.2)
          open(os.environ["TMPDIR"] + "/file", "w").write("data")
          print(got, open(os.environ["TMPDIR"] + "/file").read())
          raise SystemExit(9)
          """#
        let text = try await inTerminal(sandbox, keys: #"\x03\x1c"#, program: program)
        #expect(
          text.contains("[<Signals.SIGINT: 2>, <Signals.SIGQUIT: 3>] data") || text.contains("[2, 3] data"), "\(text)")
        #expect(text.contains("ended with 9\n"), "\(text)")
      }
    }

    @Test func aProgramThatAnInterruptEndsIs130() async throws {
      try await Sandbox.with { sandbox in
        let program = "import signal; signal.signal(2, signal.SIG_DFL); print('ready'); signal.pause()"
        let text = try await inTerminal(sandbox, keys: #"\x03"#, program: program)
        #expect(text.contains("ended with 130\n"), "\(text)")
      }
    }

    @Test func stoppingAndContinuingWorkAsInAnyJob() async throws {
      try await Sandbox.with { sandbox in
        // The program writes to its directory on its way to a halt: we must still be there.
        let program = #"""
          import os, signal, time
          continued = []
          def stop(number, _):
              open(os.environ["TMPDIR"] + "/state", "w").write("saved")
              signal.signal(signal.SIGTSTP, signal.SIG_DFL)
              os.kill(os.getpid(), signal.SIGTSTP)
              continued.append(number)
          signal.signal(signal.SIGTSTP, stop)
          print("ready")
          while not continued: time.sleep(0.01)
          print(open(os.environ["TMPDIR"] + "/state").read())
          raise SystemExit(8)
          """#
        let text = try await inTerminal(sandbox, keys: #"\x1a"#, program: program)
        #expect(text.contains("stopped by \(SIGSTOP)\n") || text.contains("stopped by \(SIGTSTP)\n"), "\(text)")
        #expect(text.contains("saved\n") && text.contains("ended with 8\n"), "\(text)")
      }
    }

    @Test(arguments: [SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, SIGINT, SIGQUIT, SIGALRM, SIGWINCH])
    func whatOtherProcessesSendIsPassedOn(signal: Int32) async throws {
      try await Sandbox.with { sandbox in
        let script = "trap 'echo got; exit 5' \(signal); : > ready; while :; do sleep 0.05; done"
        let run = try await sandbox.withRunning(Sandbox.executable.string, ["run", "--", "sh", "-c", script]) {
          program in
          try #require(await eventually { sandbox.work.appending("ready").exists })
          program.send(signal)
        }
        #expect(run.outcome.exitCode == 5, "\(run.outcome.testDescription)")
        #expect(run.outcome.text == "got\n")
      }
    }

    @Test func aProgramThatDoesNotCareEndsBySignal() async throws {
      try await Sandbox.with { sandbox in
        let script = ": > ready; exec sleep 1000"
        let run = try await sandbox.withRunning(Sandbox.executable.string, ["run", "--", "sh", "-c", script]) {
          program in
          try #require(await eventually { sandbox.work.appending("ready").exists })
          program.send(SIGTERM)
        }
        #expect(run.outcome.exitCode == 128 + SIGTERM)
      }
    }

    @Test func whatTheProgramSendsToItsGroupComesOnce() async throws {
      try await Sandbox.with { sandbox in
        let script = """
          import os, signal, time
          got = []
          signal.signal(signal.SIGUSR1, lambda number, _: got.append(number))
          os.kill(os.getppid(), signal.SIGUSR1)
          time.sleep(0.3)
          print(len(got))
          """
        let outcome = try await sandbox.spoolfs(["run", "python3", "-c", script])
        #expect(outcome.text == "0\n", "\(outcome.testDescription)")
      }
    }

    // MARK: mount

    @Test(arguments: [SIGTERM, SIGINT, SIGHUP], Sandbox.users)
    func aMountEndsCleanly(signal: Int32, of user: uid_t?) async throws {
      try await Sandbox.with(user: user) { sandbox in
        let arguments = ["mount", "-f", sandbox.mountPoint.string]
        let mount = try await sandbox.withRunning(Sandbox.executable.string, arguments) { program in
          try #require(await eventually { sandbox.mounts.count == 1 })
          try await sandbox.inMount("echo x > file")
          program.send(signal)
        }
        #expect(mount.outcome.exitCode == 0, "\(mount.outcome.testDescription)")
        #expect(mount.outcome.errorOutput.isEmpty)
        #expect(sandbox.mounts.isEmpty)
      }
    }

    @Test func aMountInTheBackgroundEndsCleanly() async throws {
      try await Sandbox.with { sandbox in
        #expect(try await sandbox.spoolfs(["mount", sandbox.mountPoint.string]).succeeded)
        kill(try #require(sandbox.serverProcess), SIGTERM)
        #expect(await eventually { sandbox.mounts.isEmpty && sandbox.processes.isEmpty })
      }
    }

    @Test func aMountInUseEndsAllTheSameAndSaysSo() async throws {
      try await Sandbox.with { sandbox in
        let arguments = ["mount", "-f", sandbox.mountPoint.string]
        let mount = try await sandbox.withRunning(Sandbox.executable.string, arguments) { program in
          try #require(await eventually { sandbox.mounts.count == 1 })
          let user = try await sandbox.withRunning(
            "sh", ["-c", ": > ready; while touch file 2>/dev/null; do sleep 0.05; done"], in: sandbox.mountPoint
          ) { _ in
            try #require(await eventually { sandbox.mountPoint.appending("ready").exists })
            program.send(SIGTERM)
          }
          #expect(user.outcome.succeeded)
        }
        #expect(mount.outcome.exitCode == 0, "\(mount.outcome.testDescription)")
        #expect(mount.outcome.errorText.contains("in use by") && mount.outcome.errorText.contains("(sh)"))
      }
    }
  }
}

extension Sandbox {
  /// Runs `script` in the tree at `mountPoint`, with `argument` as its `$2`. The shell changes there, because root may not
  /// enter another user's mount.
  @discardableResult
  func inMount(_ script: String, _ argument: String = "") async throws -> Outcome {
    try await shell("cd \"$1\" && { \(script); }", [mountPoint.string, argument])
  }

  /// The background process that serves a mount of this sandbox.
  var serverProcess: pid_t? {
    processes.first { $0.command.contains(" mount ") && !$0.command.contains(" guard-mount ") }?.identifier
  }
}
