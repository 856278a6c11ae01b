import Glibc
import SystemPackage
import Testing

extension CommandTests {
  /// Whatever programs do with the path of a tree that goes, nothing stays where it was. Each test ends with the sandbox's
  /// check for that.
  @Suite(.serialized, .timeLimit(.minutes(10))) struct NothingLeft {
    /// A background program opens a file at any moment: before, while and after the tree is unmounted.
    @Test(arguments: ["wait", "lazy", "kill"], Sandbox.users)
    func aFileThatIsOpenedWhileTheTreeGoesIsNotOnTheHost(policy: String, of user: uid_t?) async throws {
      try await Sandbox.with(user: user) { sandbox in
        let program = #"(setsid sh -c 'exec 5>$TMPDIR/z; echo hi >&5' > /dev/null 2>&1 &)"#
        for _ in 0..<20 {
          let outcome = try await sandbox.spoolfs(["run", "--leftover", policy, "--", "sh", "-c", program])
          #expect(outcome.exitCode == 0, "\(outcome.testDescription)")
        }
      }
    }

    /// Where others can make entries a name is kept while programs have it, but nothing under it.
    @Test(arguments: ["wait", "lazy"], Sandbox.users)
    func norWhereOthersMayWrite(policy: String, of user: uid_t?) async throws {
      try await Sandbox.with(user: user) { sandbox in
        try sandbox.shareRunDirectory()
        let program = #"(setsid sh -c 'exec 5>$TMPDIR/z; echo hi >&5' > /dev/null 2>&1 &)"#
        for _ in 0..<10 {
          let outcome = try await sandbox.spoolfs(["run", "--leftover", policy, "--", "sh", "-c", program])
          #expect(outcome.exitCode == 0, "\(outcome.testDescription)")
        }
      }
    }

    @Test(arguments: Sandbox.users) func aTreeThatTheProgramUnmountsLeavesNothing(of user: uid_t?) async throws {
      try await Sandbox.with(user: user) { sandbox in
        let unmount = user == nil && getuid() == 0 ? "umount" : "fusermount3 -u"
        let script = """
          \(unmount) "$TMPDIR"; touch "$TMPDIR/x"; mkdir -p "$TMPDIR/a/b"; echo x > "$TMPDIR/y"
          ls -A "$TMPDIR" 2>&1; exit 3
          """
        let outcome = try await sandbox.spoolfs(["run", "--", "sh", "-c", script])
        #expect(outcome.exitCode == 125, "\(outcome.testDescription)")
        #expect(outcome.errorText.contains("\(sandbox.runtimeDirectory)/spoolfs-"))
        #expect(outcome.errorText.contains("/tmp, the temporary directory of 'sh', was unmounted while it ran\n"))
        // Nothing could be made in its place.
        #expect(outcome.text.isEmpty || outcome.text.contains("Permission denied"), "\(outcome.text)")
        #expect(sandbox.runtimeDirectory.entries.isEmpty)
      }
    }

    @Test func aTreeThatIsDetachedWhileTheProgramUsesItLeavesNothing() async throws {
      try await Sandbox.with { sandbox in
        let script = """
          cd "$TMPDIR" && '\(Sandbox.executable)' unmount --lazy "$TMPDIR" && echo kept > file && cat file && exit 3
          """
        let outcome = try await sandbox.spoolfs(["run", "--", "sh", "-c", script])
        #expect(outcome.exitCode == 125 && outcome.text == "kept\n", "\(outcome.testDescription)")
        #expect(outcome.errorText.hasSuffix("was unmounted while it ran\n"))
      }
    }

    @Test(.enabled(if: getuid() == 0, "takes a mount namespace of its own"), arguments: Sandbox.users)
    func aTreeWhoseConnectionWasAbortedLeavesNothing(of user: uid_t?) async throws {
      try await Sandbox.with(user: user) { sandbox in
        let program = """
          n=$(awk -v p="$TMPDIR" '$5 == p { split($3, d, ":"); print d[2] }' /proc/self/mountinfo)
          echo 1 > /sys/fs/fuse/connections/$n/abort; ls "$TMPDIR" > /dev/null 2>&1 || exit 3
          """
        let script = """
          mountpoint -q /sys/fs/fuse/connections || mount -t fusectl none /sys/fs/fuse/connections
          "$@"; echo "status $?"; grep -c " $SPOOLFS_RUN_DIR/" /proc/self/mountinfo; ls -A "$SPOOLFS_RUN_DIR"
          """
        let outcome = try await sandbox.runAsRoot(
          "unshare",
          ["--mount", "sh", "-c", script, "sh"]
            + sandbox.commandLine(Sandbox.executable.string, ["run", "--", "sh", "-c", program]))
        #expect(outcome.text == "status 125\n0\n", "\(outcome.testDescription)")
        #expect(
          outcome.errorText.hasSuffix(
            ", the temporary directory of 'sh', has lost its connection to the kernel (it was aborted) while it ran\n"))
      }
    }

    /// A filesystem without the flag that keeps root's programs from making files.
    @Test(.enabled(if: getuid() == 0, "takes a mount namespace of its own"))
    func whatCouldBeMadeInThePlaceOfTheTreeGoes() async throws {
      try await Sandbox.with { sandbox in
        let program = "umount \"$TMPDIR\"; mkdir -p \"$TMPDIR/a/b\" && echo x > \"$TMPDIR/a/b/c\" && ls \"$TMPDIR\""
        let script = """
          mount -t ramfs none "$SPOOLFS_RUN_DIR" && chmod 700 "$SPOOLFS_RUN_DIR"
          "$1" run -- sh -c '\(program)'; ls -A "$SPOOLFS_RUN_DIR"
          """
        let outcome = try await sandbox.run(
          "unshare", ["--mount", "sh", "-c", script, "sh", Sandbox.executable.string])
        #expect(outcome.text == "a\n", "\(outcome.testDescription)")
        #expect(outcome.errorText.hasSuffix("was unmounted while it ran\n"))
      }
    }

    /// Whatever an earlier run could not remove: it may have been killed with its guardian at any moment.
    @Test(arguments: Sandbox.users) func theNextRunRemovesWhatIsInThePlaceOfATree(of user: uid_t?) async throws {
      try await Sandbox.with(user: user) { sandbox in
        let script = """
          cd "$SPOOLFS_RUN_DIR"
          mkdir -p spoolfs-aaaaaaa1/tmp/d spoolfs-aaaaaaa2/gone spoolfs-aaaaaaa2/tmp spoolfs-aaaaaaa3
          echo x > spoolfs-aaaaaaa1/tmp/d/file; echo x > spoolfs-aaaaaaa2/gone/file; echo x > spoolfs-aaaaaaa2/file
          : > spoolfs-aaaaaaa1/.spoolfs-run; : > spoolfs-aaaaaaa2/.spoolfs-run
          mkdir not-ours spoolfs-aaaaaaaa4
          chmod 0 spoolfs-aaaaaaa1/tmp; chmod 500 spoolfs-aaaaaaa3
          chattr -f +i spoolfs-aaaaaaa1/tmp 2> /dev/null
          "$1" run -- true && ls && rmdir not-ours spoolfs-aaaaaaaa4
          """
        let outcome = try await sandbox.shell(script, [Sandbox.executable.string])
        #expect(outcome.text == "not-ours\nspoolfs-aaaaaaaa4\n", "\(outcome.testDescription)")
        #expect(outcome.errorOutput.isEmpty)
      }
    }

    /// A directory of the user's own may happen to have such a name: eight letters are a word.
    @Test(arguments: Sandbox.users) func whatIsNotOursStaysWhateverItsName(of user: uid_t?) async throws {
      try await Sandbox.with(user: user) { sandbox in
        let script = """
          cd "$SPOOLFS_RUN_DIR"
          mkdir -p spoolfs-examples/tmp spoolfs-projects spoolfs-pictures/.spoolfs-run
          echo precious > spoolfs-examples/tmp/file; echo precious > spoolfs-projects/file
          echo precious > elsewhere; mkdir spoolfs-programs; ln -s ../elsewhere spoolfs-programs/.spoolfs-run
          "$1" run -- true && cat spoolfs-examples/tmp/file spoolfs-projects/file elsewhere
          ls -d spoolfs-*/.spoolfs-run && rm -r spoolfs-examples spoolfs-projects spoolfs-pictures spoolfs-programs elsewhere
          """
        let outcome = try await sandbox.shell(script, [Sandbox.executable.string])
        #expect(
          outcome.text == """
            precious
            precious
            precious
            spoolfs-pictures/.spoolfs-run
            spoolfs-programs/.spoolfs-run

            """, "\(outcome.testDescription)")
      }
    }

    /// Killed at a moment when only part of it was done, a run has marked what the next one may remove.
    @Test(arguments: Sandbox.users) func aTreeThatIsThereIsMarked(of user: uid_t?) async throws {
      try await Sandbox.with(user: user) { sandbox in
        let outcome = try await sandbox.spoolfs(["run", "--", "sh", "-c", "ls -A \"$TMPDIR/..\""])
        #expect(outcome.text == ".spoolfs-run\ntmp\n", "\(outcome.testDescription)")
      }
    }

    /// It is told, and is no reason to lose the status.
    @Test(.enabled(if: getuid() == 0)) func whatIsMountedInThePlaceOfTheTreeIsLeftAlone() async throws {
      try await Sandbox.with { sandbox in
        let script = "umount \"$TMPDIR\"; mount -t tmpfs none \"$TMPDIR\"; echo x > \"$TMPDIR/precious\""
        let outcome = try await sandbox.spoolfs(["run", "--", "sh", "-c", script])
        #expect(outcome.exitCode == 125, "\(outcome.testDescription)")
        #expect(outcome.errorText.contains("spoolfs: cannot remove \(sandbox.runtimeDirectory)/spoolfs-"))
        let place = try #require(sandbox.mounts.first).path
        #expect(place.appending("precious").exists)
        umount2(place.string, 0)
        try await sandbox.spoolfs(["run", "true"]).expect("")
      }
    }
  }
}

extension Sandbox {
  /// Makes the directory for private mount points one in which everybody can make entries, as /tmp is.
  func shareRunDirectory() throws {
    for path in [directory, runtimeDirectory] {
      guard chmod(path.string, path == directory ? 0o711 : 0o1777) == 0 else { throw Errno(rawValue: errno) }
    }
    chown(runtimeDirectory.string, getuid(), getgid())
  }
}
