import Glibc
import SystemPackage
import Testing

extension Sandbox {
  /// What the process has in its spill files, which only it can open.
  fileprivate func spilledBytes(of process: pid_t) -> [UInt8] {
    FilePath("/proc/\(process)/fd").entries.flatMap { entry -> [UInt8] in
      let link = FilePath("/proc/\(process)/fd/\(entry)")
      var target = [CChar](repeating: 0, count: Int(PATH_MAX))
      guard readlink(link.string, &target, target.count - 1) > 0,
        FilePath(platformString: target).starts(with: spillDirectory)
      else { return [] }
      return link.bytes
    }
  }
}

extension CommandTests {
  /// What each option does to the tree; how options are read is tested without a mount.
  @Suite(.serialized, .timeLimit(.minutes(10))) struct Options {
    /// Runs `script` in a fresh tree with each way to give the same option.
    private func check(_ ways: [[String]], _ script: String, expect output: String) async throws {
      try await Sandbox.with { sandbox in
        for way in ways {
          let outcome = try await sandbox.spoolfs(["run"] + way + ["--", "sh", "-c", "cd \"$TMPDIR\"; \(script)"])
          #expect(outcome.text == output, "\(way): \(outcome.testDescription)")
        }
      }
    }

    @Test func sizeLimitsTheData() async throws {
      try await check(
        [
          ["--size", "1m"], ["-o", "size=1024k"], ["-o", "nr_blocks=256"],
          ["-o", "size=5m", "--size=1m"],
        ],
        """
        head -c 1048576 /dev/zero > a; sync a; df --output=size,avail . | tail -1
        dd if=/dev/zero of=b bs=1 count=1 conv=fsync 2>&1 | grep -o 'No space left on device' | head -n 1
        """, expect: "     1024     0\nNo space left on device\n")
    }

    @Test func inodesAreLimited() async throws {
      // The root is one of them.
      try await check(
        [["--inodes", "3"], ["-o", "nr_inodes=3"], ["-o", "inodes=3"]],
        "touch a && touch b && touch c 2>/dev/null || echo full; ls", expect: "full\na\nb\n")
      try await check([["--inodes", "1"]], "touch a 2>/dev/null || echo full; ls", expect: "full\n")
    }

    @Test func modeAndOwnerAreThoseOfTheRoot() async throws {
      try await check([["--mode", "0751"], ["-o", "mode=751"]], "stat -c %a .", expect: "751\n")
      try await check([["-o", "uid=12,gid=34"]], "stat -c '%u %g %a' .", expect: "12 34 700\n")
      try await check([["--allow-other"], ["-o", "allow_other"]], "stat -c %a .", expect: "1777\n")
    }

    @Test func withLifetimeCloseFilesVanish() async throws {
      let script = "exec 3> file; echo data >&3; cat file; ls; exec 3>&-; sleep 0.2; ls; mkdir d; ls"
      try await check([["--lifetime", "close"], ["-o", "lifetime=close"]], script, expect: "data\nfile\nd\n")
      try await check([["--lifetime", "unmount"], []], script, expect: "data\nfile\nfile\nd\nfile\n")
    }

    @Test(arguments: ["writeback", "writethrough", "none"])
    func everyCacheModeKeepsTheData(cache: String) async throws {
      let script = "seq 100000 | tee a | cksum > sum; cksum < a | cmp - sum && tail -1 a"
      try await check([["--cache", cache], ["-o", "cache=\(cache)"]], script, expect: "100000\n")
    }

    @Test func flagsAreThoseOfTheMount() async throws {
      let script = "findmnt -n -o VFS-OPTIONS -T . | tr , '\\n' | grep -E 'ro|rw|no'"
      try await check([[]], script, expect: "rw\nnosuid\nnodev\n")
      try await check([["-o", "ro,noexec,noatime"]], script, expect: "ro\nnosuid\nnodev\nnoexec\nnoatime\n")
      try await check([["-o", "suid,dev"]], script, expect: "rw\n")
      try await check([["-o", "ro"]], "touch x 2>/dev/null || echo refused", expect: "refused\n")
      try await check(
        [["-o", "noexec"]], "printf 'echo ran' > x; chmod +x x; ./x 2>/dev/null || echo refused", expect: "refused\n")
    }

    @Test func thresholdMemoryAndSpillReachTheStorage() async throws {
      let numbers =
        "tr ',{' '\\n\\n' < .spoolfs/stats | grep -E '\"(threshold|memory_budget|spill_capacity|size_limit)\"' | sort"
      try await check(
        [
          ["--threshold", "4m", "--memory", "512m", "--spill-max", "1g", "--size", "2g"],
          ["-o", "threshold=4m,memory=512m,spill_max=1g,size=2g"],
        ], numbers,
        expect: """
          "memory_budget":536870912
          "size_limit":2147483648
          "spill_capacity":1073741824
          "threshold":4194304

          """)
      try await check(
        [["--threshold", "unlimited"]], "grep -o '\"threshold\":[^,]*' .spoolfs/stats", expect: "\"threshold\":null\n")
      try await check(
        [["--threshold", "64k"]],
        "head -c 65536 /dev/zero > a; head -c 65537 /dev/zero > b; sync a b; grep -o '\"spilled_files\":[^,]*' .spoolfs/stats",
        expect: "\"spilled_files\":1\n")
    }

    @Test func filesSpillToTheDirectoryAskedFor() async throws {
      try await Sandbox.with { sandbox in
        let other = sandbox.work.appending("other")
        mkdir(other.string, 0o700)
        let script = "grep -o '\"spill_directory\":[^,]*' \"$TMPDIR/.spoolfs/stats\""
        for way in [["--spill-dir", other.string], ["-o", "spill_dir=\(other)"], ["--spill-dir", "other"]] {
          let outcome = try await sandbox.spoolfs(["run"] + way + ["--", "sh", "-c", script])
          #expect(outcome.text.hasSuffix("other\"\n"), "\(way) \(outcome.testDescription)")
        }
        let byEnvironment = try await sandbox.spoolfs(["run", "--", "sh", "-c", script])
        #expect(byEnvironment.text == "\"spill_directory\":\"\(sandbox.spillDirectory)\"\n")
      }
    }

    @Test func whatSpillsIsEncryptedWhenAsked() async throws {
      let text = "nobody reads this on the disk"
      try await Sandbox.with { sandbox in
        for (options, isEncrypted) in [([], false), (["--encrypt-spill"], true), (["-o", "encrypt_spill"], true)] {
          let command = ["mount", "--threshold=0"] + options + [sandbox.mountPoint.string]
          try await sandbox.spoolfs(command).expect("")
          try await sandbox.inMount("yes '\(text)' | head -c 300000 > file && sync file")
          let server = try #require(sandbox.serverProcess)
          let spilled = sandbox.spilledBytes(of: server)
          #expect(spilled.count >= 300_000)
          let readable = String(decoding: spilled, as: UTF8.self).contains(text)
          #expect(readable == !isEncrypted, "\(options)")
          try await sandbox.inMount("yes '\(text)' | head -c 300000 | cmp - file && echo same").expect("same\n")
          let status = try await sandbox.spoolfs(["status", sandbox.mountPoint.string])
          #expect(status.text.contains("\(sandbox.spillDirectory), encrypted\n") == isEncrypted)
          try await sandbox.spoolfs(["unmount", sandbox.mountPoint.string]).expect("")
        }
      }
    }

    @Test(.enabled(if: getuid() == 0, "takes another user"))
    func otherUsersComeInOnlyWhenAllowed() async throws {
      let script =
        "setpriv --reuid=65534 --clear-groups sh -c 'echo hello > file && cat file' 2>/dev/null || echo refused"
      try await Sandbox.with { sandbox in
        for (options, output) in [
          ([], "refused\n"), (["--allow-other"], "hello\n"), (["--allow-other", "--mode=755"], "refused\n"),
        ] {
          let command = ["run"] + options + ["--", "sh", "-c", "cd \"$TMPDIR\"; \(script)"]
          let outcome = try await sandbox.spoolfs(command)
          #expect(outcome.text == output, "\(options) \(outcome.testDescription)")
        }
      }
    }
  }

  @Suite(.serialized, .timeLimit(.minutes(10))) struct Status {
    @Test(arguments: Sandbox.users)
    func theNumbersAreShown(of user: uid_t?) async throws {
      try await Sandbox.with(user: user) { sandbox in
        let options = ["--memory", "256m", "--threshold", "1m", "--size", "1g", "--inodes", "100"]
        try await sandbox.spoolfs(["mount"] + options + [sandbox.mountPoint.string]).expect("")
        try await sandbox.inMount("head -c 3145728 /dev/zero > big && echo > small && sync big small")
        let status = try await sandbox.spoolfs(["status", sandbox.mountPoint.string])
        let lines = status.text.split(separator: "\n").map { $0.split(separator: " ").map(String.init) }
        let shown = Dictionary(
          lines.map { ($0[0], $0.dropFirst().joined(separator: " ")) }, uniquingKeysWith: { first, _ in first })
        #expect(shown["memory"]?.hasSuffix(" of 256 MiB") == true, "\(status.testDescription)")
        #expect(lines.contains(["disk", "3", "MiB", "in", sandbox.spillDirectory.string]))
        #expect(shown["data"] == "3 MiB of 1 GiB")
        #expect(shown["inodes"] == "3 of 100")
        #expect(lines.contains(["on", "disk", "1", "files,", "1", "rollovers"]))
        #expect(shown["threshold"] == "1 MiB")
        #expect(shown["lifetime"] == "unmount")

        let json = try await sandbox.spoolfs(["status", "--json", sandbox.mountPoint.string])
        let check =
          "import json, sys; d = json.load(sys.stdin); print(d['path'], d['disk_bytes'], d['spilled_files'], d['inode_limit'])"
        try await sandbox.shell("printf %s \"$1\" | python3 -c \"$2\"", [json.text, check])
          .expect("\(sandbox.mountPoint) 3145728 1 100\n")
        try await sandbox.spoolfs(["unmount", sandbox.mountPoint.string]).expect("")
      }
    }

    /// The owner of the root directory may read the listing, and has no business in directories of others.
    @Test(.enabled(if: Sandbox.users.count > 1, "takes a user without privileges"))
    func theListingHasWhatItsReaderMayFind() async throws {
      try await Sandbox.with { sandbox in
        chmod(sandbox.directory.string, 0o755)
        let options = ["-o", "allow_other,uid=\(Sandbox.nobody),mode=755"]
        try await sandbox.spoolfs(["mount"] + options + [sandbox.mountPoint.string]).expect("")
        let make = """
          for d in open private closed group; do mkdir $d && echo > $d/$d-file; done
          chmod 755 open && chmod 700 private && chmod 711 closed && chgrp 12345 group && chmod 750 group
          """
        try await sandbox.inMount(make).expect("")
        let names = "sed 's/.*\"path\":\"\\([^/]*\\).*/\\1/' .spoolfs/files | sort | tr '\\n' ' '"
        let nobody = "setpriv --reuid=\(Sandbox.nobody) --regid=\(Sandbox.nobody)"
        try await sandbox.inMount(names).expect("closed group open private ")
        try await sandbox.inMount("\(nobody) --clear-groups sh -c \"$2\" sh", names).expect("open ")
        try await sandbox.inMount("\(nobody) --groups=12345 sh -c \"$2\" sh", names).expect("group open ")
        let stranger = try await sandbox.inMount("setpriv --reuid=12346 --clear-groups cat .spoolfs/files")
        #expect(!stranger.succeeded && stranger.output.isEmpty, "\(stranger.testDescription)")
        try await sandbox.spoolfs(["unmount", sandbox.mountPoint.string]).expect("")
      }
    }

    @Test func withoutADirectoryAllTreesAreShown() async throws {
      try await Sandbox.with { sandbox in
        let other = sandbox.work.appending("other \"mount\"")
        mkdir(other.string, 0o700)
        for path in [sandbox.mountPoint, other] { try await sandbox.spoolfs(["mount", path.string]).expect("") }
        let table = try await sandbox.spoolfs(["status"])
        let lines = table.text.split(separator: "\n")
        #expect(lines[0].hasSuffix("  MOUNTED ON"))
        for path in [sandbox.mountPoint, other] { #expect(lines.contains { $0.hasSuffix("  \(path)") }) }

        let json = try await sandbox.spoolfs(["status", "--json"])
        let check = "import json, sys; print(*(d['path'] for d in json.load(sys.stdin)), sep='\\n')"
        let paths = try await sandbox.shell("printf %s \"$1\" | python3 -c \"$2\"", [json.text, check])
        #expect(
          Set(paths.text.split(separator: "\n").map(String.init)).isSuperset(of: [
            sandbox.mountPoint.string, other.string,
          ]))
        for path in [sandbox.mountPoint, other] { try await sandbox.spoolfs(["unmount", path.string]).expect("") }
      }
    }
  }
}
