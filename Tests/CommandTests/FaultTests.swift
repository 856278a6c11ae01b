import Glibc
import SystemPackage
import Testing

extension Sandbox {
  /// The processes of this sandbox that serve a mount.
  var servers: [pid_t] {
    processes.map(\.identifier).filter { process in
      let descriptors = FilePath("/proc/\(process)/fd")
      return descriptors.entries.contains { descriptors.appending($0).linkTarget == "/dev/fuse" }
    }
  }

  /// Mounts at `mountPoint`, in the background.
  func mount(_ options: [String]) async throws {
    let outcome = try await spoolfs(["mount"] + options + [mountPoint.string])
    try #require(outcome.succeeded, "\(outcome.testDescription)")
  }

  func unmount() async throws {
    let outcome = try await spoolfs(["unmount", mountPoint.string])
    #expect(outcome.succeeded, "\(outcome.testDescription)")
  }

  /// A number from the statistics of the mount at `mountPoint`.
  func statistic(_ name: String) -> Int? {
    number(name, inJSON: String(decoding: mountPoint.appending(".spoolfs/stats").bytes, as: UTF8.self))
  }
}

extension FilePath {
  /// Where a symbolic link leads; nil if it is none.
  var linkTarget: String? {
    var target = [UInt8](repeating: 0, count: Int(PATH_MAX))
    let length = readlink(string, &target, target.count)
    return length < 0 ? nil : String(decoding: target.prefix(length), as: UTF8.self)
  }
}

extension CommandTests {
  /// Whatever happens to us, nothing stays behind; each test ends with the sandbox's check for that.
  @Suite(.serialized, .timeLimit(.minutes(10))) struct FaultTests {
    @Test(arguments: Sandbox.users)
    func aKilledMountGoesAway(of user: uid_t?) async throws {
      try await Sandbox.with(user: user) { sandbox in
        try await sandbox.mount(["--threshold=64k", "--memory=8m"])
        try await sandbox.run("dd", ["if=/dev/zero", "of=\(sandbox.mountPoint)/file", "bs=1M", "count=1"])
        let servers = sandbox.servers
        try #require(servers.count == 1)
        kill(servers[0], SIGKILL)
        #expect(await eventually { sandbox.mounts.isEmpty })
        #expect(sandbox.spillDirectory.entries.isEmpty)
        // The mount point is as good as new.
        try await sandbox.mount([])
        #expect(try await sandbox.run("ls", ["-A", sandbox.mountPoint.string]).output.isEmpty)
        try await sandbox.unmount()
      }
    }

    @Test func aKilledMountInUseGoesAway() async throws {
      try await Sandbox.with { sandbox in
        try await sandbox.mount([])
        // What is cached would go on to be there.
        let script = "while mkdir d && rmdir d; do sleep 0.05; done"
        _ = try await sandbox.withRunning("sh", ["-c", script], in: sandbox.mountPoint) { _ in
          try #require(sandbox.servers.count == 1)
          kill(sandbox.servers[0], SIGKILL)
        }
      }
    }

    /// The program sees errors then, and ends by itself.
    @Test(arguments: Sandbox.users)
    func theMountOfAKilledRunGoesAway(of user: uid_t?) async throws {
      try await Sandbox.with(user: user) { sandbox in
        let ready = sandbox.work.appending("ready").string
        let script = """
          cd "$TMPDIR" && head -c 1000000 /dev/zero > file && pwd -P > "$1.part" && mv "$1.part" "$1"
          while mkdir d && rmdir d; do sleep 0.05; done
          """
        let arguments = ["run", "--threshold=64k", "--", "sh", "-c", script, "sh", ready]
        let run = try await sandbox.withRunning(Sandbox.executable.string, arguments) { program in
          try #require(await eventually { FilePath(ready).exists })
          try #require(sandbox.servers == [program.process])
          program.send(SIGKILL)
        }
        #expect(run.outcome.signal == SIGKILL)
        #expect(await eventually { sandbox.processes.isEmpty })
        #expect(!FilePath(String(decoding: FilePath(ready).bytes.dropLast(), as: UTF8.self)).exists)
      }
    }

    @Test(arguments: ["writeback", "writethrough"])
    func nothingIsLeftByAKillInTheMiddleOfASpill(cache: String) async throws {
      try await Sandbox.with { sandbox in
        try await sandbox.mount(["--threshold=256m", "--memory=16m", "--cache=\(cache)"])
        let target = sandbox.mountPoint.appending("file").string
        // With fsync(2): where no WRITE was under way at that moment, write(2) and close(2) do not hear of the death.
        let arguments = ["if=/dev/zero", "bs=1M", "count=4000", "conv=fsync", "of=\(target)"]
        let writing = try await sandbox.withRunning("dd", arguments) { _ in
          try #require(await eventually { (sandbox.statistic("disk_bytes") ?? 0) > 1 << 20 })
          #expect(sandbox.spillDirectory.entries.isEmpty)
          kill(sandbox.servers[0], SIGKILL)
          #expect(sandbox.spillDirectory.entries.isEmpty)
        }
        #expect(!writing.outcome.succeeded)
      }
    }

    /// A killed server may be unable to end, with its descriptors open: here another process has the one that tells its
    /// guardian of the end.
    @Test(arguments: Sandbox.users) func theMountOfAServerThatCannotEndIsTakenAway(user: uid_t?) async throws {
      try await Sandbox.with(user: user) { sandbox in
        try await sandbox.mount([])
        let server = try #require(sandbox.servers.first)
        let guardian = try #require(sandbox.processes.first { $0.command.contains("guard-mount") }).identifier
        let pipe = FilePath("/proc/\(guardian)/fd/3").linkTarget
        let descriptors = FilePath("/proc/\(server)/fd")
        let name = try #require(descriptors.entries.first { descriptors.appending($0).linkTarget == pipe })
        let held = try FileDescriptor.open(descriptors.appending(name), .writeOnly, options: .closeOnExec)
        kill(server, SIGKILL)
        #expect(await eventually { sandbox.mounts.isEmpty })
        #expect(sandbox.processes.map(\.identifier) == [guardian])
        try held.close()
      }
    }

    @Test func aBusyUnmountSaysSoAndCanBeForced() async throws {
      try await Sandbox.with { sandbox in
        try await sandbox.mount([])
        let go = sandbox.work.appending("go")
        let script = """
          echo data > file && exec 3< file && : > ready
          while [ ! -e "$1" ]; do sleep 0.05; done
          cat <&3
          cat file
          echo more > another && cat another
          """
        let user = try await sandbox.withRunning("sh", ["-c", script, "sh", go.string], in: sandbox.mountPoint) { _ in
          try #require(await eventually { sandbox.mountPoint.appending("ready").exists })
          let refused = try await sandbox.spoolfs(["unmount", sandbox.mountPoint.string])
          #expect(!refused.succeeded)
          #expect(refused.errorText.contains("in use") && refused.errorText.contains(sandbox.mountPoint.string))
          #expect(sandbox.mounts.count == 1)
          try sandbox.mountPoint.appending("still").write("working".utf8)
          #expect(sandbox.mountPoint.appending("still").bytes == Array("working".utf8))

          let forced = try await sandbox.spoolfs(["unmount", "--lazy", sandbox.mountPoint.string])
          #expect(forced.succeeded, "\(forced.testDescription)")
          #expect(sandbox.mounts.isEmpty)
          // Whoever uses it keeps it.
          try go.write([])
        }
        #expect(user.outcome.text == "data\ndata\nmore\n", "\(user.outcome.testDescription)")
      }
    }

    @Test func runWaitsForProgramsLeftInTheBackground() async throws {
      try await Sandbox.with { sandbox in
        let outcome = try await sandbox.leaveInBackground(mode: "wait", "sleep 1")
        #expect(outcome.exitCode == 7, "\(outcome.testDescription)")
        #expect(sandbox.work.appending("result").bytes == Array("late\n".utf8))
      }
    }

    @Test func runKillsProgramsLeftInTheBackground() async throws {
      try await Sandbox.with { sandbox in
        let outcome = try await sandbox.leaveInBackground(mode: "kill", "trap '' TERM HUP INT; sleep 1000")
        #expect(outcome.exitCode == 7, "\(outcome.testDescription)")
        #expect(await eventually { sandbox.mounts.isEmpty && sandbox.servers.isEmpty })
        #expect(!sandbox.work.appending("result").exists)
      }
    }

    @Test func runDetachesTheTreeFromProgramsInTheBackground() async throws {
      try await Sandbox.with { sandbox in
        let go = sandbox.work.appending("go")
        let outcome = try await sandbox.leaveInBackground(
          mode: "lazy", "while [ ! -e '\(go)' ]; do sleep 0.05; done; : > '\(go).seen'")
        #expect(outcome.exitCode == 7, "\(outcome.testDescription)")
        #expect(sandbox.mounts.isEmpty && sandbox.servers.isEmpty)
        // The program goes on, without its files.
        try go.write([])
        #expect(await eventually { sandbox.processes.isEmpty })
        #expect(sandbox.work.appending("go.seen").exists)
        #expect(!sandbox.work.appending("result").exists)
      }
    }
  }
}

extension Sandbox {
  /// Runs a program that ends with status 7 and leaves another one behind, which does `first`, then uses its temporary
  /// directory and tells so in `work/result`.
  fileprivate func leaveInBackground(mode: String, _ first: String) async throws -> Outcome {
    let script = """
      cd "$TMPDIR"
      { \(first); echo late > file; cat file > '\(work)/part' && mv '\(work)/part' '\(work)/result'; } > log 2>&1 &
      exit 7
      """
    return try await spoolfs(["run", "--leftover=\(mode)", "--", "sh", "-c", script])
  }
}
