import Glibc
import SystemPackage
import Testing

extension CommandTests {
  /// What goes wrong before anything is mounted: each has its message and its exit status, and nothing is left.
  @Suite(.serialized, .timeLimit(.minutes(10))) struct Messages {
    /// Expects `mount` to fail with `status`, `run` with 125, both with `message`; `setUp` prepares a mount namespace of
    /// their own, which takes root.
    private func check(
      _ sandbox: Sandbox, _ options: [String] = [], directory: String? = nil, setUp: String? = nil, status: Int32,
      message: String, includingRun: Bool = true, sourceLocation: SourceLocation = #_sourceLocation
    ) async throws {
      var commands = [(["mount"] + options + [directory ?? sandbox.mountPoint.string], status)]
      if includingRun { commands.append((["run"] + options + ["--", "true"], 125)) }
      for (arguments, status) in commands {
        let outcome: Outcome
        if let setUp {
          let script = setUp + "; exec \"$@\""
          outcome = try await sandbox.run(
            "unshare", ["--mount", "sh", "-c", script, "sh", Sandbox.executable.string] + arguments)
        } else {
          outcome = try await sandbox.spoolfs(arguments)
        }
        #expect(outcome.exitCode == status, "\(arguments): \(outcome.testDescription)", sourceLocation: sourceLocation)
        #expect(outcome.errorText == "spoolfs: \(message)\n", sourceLocation: sourceLocation)
        #expect(outcome.output.isEmpty, sourceLocation: sourceLocation)
      }
      #expect(sandbox.mounts.isEmpty && sandbox.processes.isEmpty && sandbox.runtimeDirectory.entries.isEmpty)
    }

    // MARK: Usage

    @Test func unknownOptionsAndSubcommands() async throws {
      try await Sandbox.with { sandbox in
        for (arguments, status, message) in [
          (["mount", "--bogus", "/mnt"], 64, "Unknown option '--bogus'"),
          (["mount", "-o", "bogus", "/mnt"], 64, "unknown option 'bogus' in -o"),
          (["mount", "--size", "1x", "/mnt"], 64, "'1x' is not a size"),
          (["mount", "--lifetime", "long", "/mnt"], 64, "'long' is invalid for '--lifetime <lifetime>'"),
          (["mount"], 64, "Missing expected argument '<dir>'"),
          (["bogus"], 64, "Unexpected argument 'bogus'"),
          (["status", "--bogus"], 64, "Unknown option '--bogus'"),
          (["run", "--bogus", "true"], 125, "Unknown option '--bogus'"),
          (["run"], 125, "Missing PROGRAM"),
          (["run", "--memory", "unlimited", "true"], 125, "--memory needs a size"),
        ] {
          let outcome = try await sandbox.spoolfs(arguments)
          #expect(outcome.exitCode == Int32(status), "\(arguments): \(outcome.testDescription)")
          #expect(outcome.errorText.contains(message), "\(arguments): \(outcome.errorText)")
          #expect(outcome.output.isEmpty)
        }
      }
    }

    @Test func versionAndHelpGoToTheOutput() async throws {
      try await Sandbox.with { sandbox in
        let version = try await sandbox.spoolfs(["--version"])
        #expect(version.text.hasPrefix("spoolfs ") && version.exitCode == 0)
        for subcommand in ["run", "mount", "unmount", "umount", "status"] {
          let help = try await sandbox.spoolfs([subcommand, "--help"])
          #expect(help.exitCode == 0 && help.errorOutput.isEmpty, "\(help.testDescription)")
          #expect(help.text.contains("Examples:\n  spoolfs "), "\(subcommand): \(help.text)")
        }
        let help = try await sandbox.spoolfs(["--help"])
        #expect(help.text.contains("Examples:\n  spoolfs run"))
        #expect(!help.text.contains("guard-mount"))
      }
    }

    // MARK: The mount point

    @Test func theMountPoint() async throws {
      try await Sandbox.with { sandbox in
        let missing = sandbox.work.appending("missing").string
        try await check(
          sandbox, directory: missing, status: 66, message: "mount point \(missing): No such file or directory",
          includingRun: false)
        let file = sandbox.work.appending("file").string
        try FilePath(file).write([])
        try await check(
          sandbox, directory: file, status: 66, message: "mount point \(file): Not a directory", includingRun: false)
        try await check(
          sandbox, directory: sandbox.work.string, status: 73,
          message: "mount point \(sandbox.work) is not empty; --nonempty mounts over what is there", includingRun: false
        )
      }
    }

    @Test func aSecondMountAtTheSamePlace() async throws {
      try await Sandbox.with { sandbox in
        try await sandbox.spoolfs(["mount", sandbox.mountPoint.string]).expect("")
        let second = try await sandbox.spoolfs(["mount", sandbox.mountPoint.string])
        #expect(second.exitCode == 73)
        #expect(
          second.errorText == "spoolfs: \(sandbox.mountPoint) is a spoolfs mount already; --nonempty mounts over it\n")
        #expect(sandbox.mounts.count == 1)
        try await sandbox.spoolfs(["unmount", sandbox.mountPoint.string]).expect("")
      }
    }

    @Test func whatIsNoMountOfOurs() async throws {
      try await Sandbox.with { sandbox in
        for command in ["unmount", "status"] {
          let none = try await sandbox.spoolfs([command, sandbox.mountPoint.string])
          #expect(none.exitCode == 64)
          #expect(none.errorText == "spoolfs: \(sandbox.mountPoint) is not a mount point\n")
          let other = try await sandbox.spoolfs([command, "/proc"])
          #expect(other.exitCode == 64)
          #expect(other.errorText == "spoolfs: /proc is not a spoolfs mount but proc\n")
        }
      }
    }

    // MARK: The spill directory

    @Test func theSpillDirectory() async throws {
      try await Sandbox.with { sandbox in
        try sandbox.work.appending("file").write([])
        let (file, missing) = (sandbox.work.appending("file").string, sandbox.work.appending("missing").string)
        try await check(
          sandbox, ["--spill-dir", missing], status: 78,
          message: "spill directory \(missing): No such file or directory")
        try await check(
          sandbox, ["-o", "spill_dir=\(file)"], status: 78, message: "spill directory \(file): Not a directory")
      }
    }

    @Test func aSpillDirectoryInMemory() async throws {
      try await Sandbox.with { sandbox in
        try await check(
          sandbox, ["--spill-dir", "/dev/shm"], status: 78,
          message: "spill directory /dev/shm is a tmpfs, so data that spills would stay in memory; name one on a disk")
      }
    }

    @Test(.enabled(if: getuid() == 0, "takes a mount namespace of its own"))
    func aDefaultSpillDirectoryInMemoryIsWarnedOfOnce() async throws {
      try await Sandbox.with { sandbox in
        let script = "mount -t tmpfs none /var/tmp && cd / && unset SPOOLFS_SPILL_DIR SPOOLFS_RUN_DIR && exec \"$@\""
        let outcome = try await sandbox.run(
          "unshare", ["--mount", "sh", "-c", script, "sh", Sandbox.executable.string, "run", "echo", "done"])
        #expect(outcome.text == "done\n" && outcome.exitCode == 0)
        #expect(
          outcome.errorText == """
            spoolfs: warning: /var/tmp is a tmpfs, so data that spills stays in memory; name a directory on a disk with \
            --spill-dir

            """)
      }
    }

    @Test(.enabled(if: Sandbox.users.count > 1, "takes a user without privileges"))
    func aSpillDirectoryThatIsNotWritable() async throws {
      try await Sandbox.with(user: Sandbox.nobody) { sandbox in
        try await check(
          sandbox, ["--spill-dir", "/usr"], status: 78,
          message: "spill directory /usr is not writable: Permission denied")
      }
    }

    @Test(.enabled(if: getuid() == 0, "takes a mount namespace of its own"))
    func aSpillDirectoryThatIsReadOnly() async throws {
      try await Sandbox.with { sandbox in
        try await check(
          sandbox, setUp: "mount --bind \"$SPOOLFS_SPILL_DIR\" \"$SPOOLFS_SPILL_DIR\" -o ro", status: 78,
          message: "spill directory \(sandbox.spillDirectory) is not writable: Read-only file system")
      }
    }

    // MARK: FUSE

    @Test(.enabled(if: getuid() == 0, "takes a mount namespace of its own"))
    func noDevice() async throws {
      try await Sandbox.with { sandbox in
        try await check(
          sandbox, setUp: "mount -t tmpfs none /dev && mknod -m 666 /dev/null c 1 3", status: 69,
          message: "there is no /dev/fuse: load the kernel module (modprobe fuse), or give the container the device")
      }
    }

    @Test(.enabled(if: Sandbox.users.count > 1, "takes a user without privileges"))
    func noPermissionForTheDevice() async throws {
      try await Sandbox.with { sandbox in
        for path in [sandbox.directory, sandbox.mountPoint, sandbox.runtimeDirectory, sandbox.spillDirectory] {
          chown(path.string, Sandbox.nobody, Sandbox.nobody)
        }
        let setUp = """
          mount -t tmpfs none /dev && mknod -m 666 /dev/null c 1 3 && mknod -m 600 /dev/fuse c 10 229
          set -- setpriv --reuid=\(Sandbox.nobody) --regid=\(Sandbox.nobody) --clear-groups "$@"
          """
        try await check(sandbox, setUp: setUp, status: 77, message: "cannot open /dev/fuse: Permission denied")
      }
    }

    @Test(.enabled(if: Sandbox.users.count > 1, "takes a user without privileges"))
    func noFusermount() async throws {
      try await Sandbox.with(user: Sandbox.nobody) { sandbox in
        for (arguments, status) in [(["mount", sandbox.mountPoint.string], 72), (["run", "true"], 125)] {
          let outcome = try await sandbox.spoolfs(arguments, environment: ["PATH": "/nonexistent"])
          #expect(outcome.exitCode == Int32(status), "\(outcome.testDescription)")
          #expect(outcome.errorText.contains("fusermount3 is not installed (Debian package fuse3)"))
        }
      }
    }

    @Test(.enabled(if: getuid() == 0, "only root can do without"))
    func rootNeedsNoFusermount() async throws {
      try await Sandbox.with { sandbox in
        let environment = ["PATH": "/nonexistent"]
        for arguments in [
          ["mount", sandbox.mountPoint.string], ["unmount", sandbox.mountPoint.string], ["run", "/bin/true"],
        ] {
          try await sandbox.spoolfs(arguments, environment: environment).expect("")
        }
      }
    }

    @Test(.enabled(if: Sandbox.users.count > 1, "takes a user without privileges"))
    func allowOtherIsForRoot() async throws {
      let configuration = String(decoding: FilePath("/etc/fuse.conf").bytes, as: UTF8.self)
      guard !configuration.split(separator: "\n").contains("user_allow_other") else { return }
      try await Sandbox.with(user: Sandbox.nobody) { sandbox in
        try await check(
          sandbox, ["--allow-other"], status: 77,
          message: "--allow-other is for root, unless /etc/fuse.conf has the line 'user_allow_other'")
      }
    }

    @Test(.enabled(if: getuid() == 0, "takes root without its capabilities"))
    func rootInAContainerMayNotMount() async throws {
      try await Sandbox.with { sandbox in
        let outcome = try await sandbox.run(
          "setpriv", ["--bounding-set=-sys_admin", Sandbox.executable.string, "mount", sandbox.mountPoint.string])
        #expect(outcome.exitCode == 77)
        #expect(outcome.errorText.contains("CAP_SYS_ADMIN"), "\(outcome.testDescription)")
      }
    }
  }
}
