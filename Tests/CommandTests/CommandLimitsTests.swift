import Glibc
import SystemPackage
import Testing

extension CommandTests {
  /// What there is little of, or nothing: address space, /proc, inodes.
  @Suite(.serialized, .timeLimit(.minutes(10))) struct Limits {
    /// Mounts with `ulimit -v`, and tells how the server ended.
    private static let serve = """
      (ulimit -v $2; exec "$1" mount -f --memory 1g --threshold 100m "$3" 2> "$4/errors") & server=$!
      while ! grep -q " $3 fuse.spoolfs " /proc/mounts; do
        kill -0 $server 2> /dev/null || { wait $server; echo "not mounted: $?"; exit; }
        sleep 0.05
      done
      ( cd "$3"; EXERCISE ) 2> /dev/null
      "$1" unmount "$3" || umount -l "$3"
      wait $server && echo served
      """

    private func serve(_ exercise: String, limits: [Int]) async throws {
      try await Sandbox.with { sandbox in
        let script = String(Self.serve.replacing("EXERCISE", with: exercise))
        for limit in limits {
          let outcome = try await sandbox.shell(
            script,
            [Sandbox.executable.string, String(limit), sandbox.mountPoint.string, sandbox.work.string])
          let errors = String(decoding: sandbox.work.appending("errors").bytes, as: UTF8.self)
          // Refused with a message, or served to the end.
          let isRefusal = outcome.text == "not mounted: 71\n" && errors.hasPrefix("spoolfs: ")
          #expect(outcome.text == "served\n" || isRefusal, "\(limit): \(outcome.testDescription)\n\(errors)")
        }
      }
    }

    /// More of them than the server's first threads can take.
    @Test func theServerLivesWhereItsAddressSpaceEnds() async throws {
      try await serve(
        "for n in 0 1 2 3 4 5 6 7 8 9; do head -c 24000000 /dev/zero > $n & done; wait; cat * | wc -c >&2; rm *",
        limits: [60_000, 90_000, 120_000, 200_000])
    }

    @Test func theServerLivesWhereSmallFilesTakeItsAddressSpace() async throws {
      try await serve(
        "for n in 0 1 2 3; do (mkdir $n; cd $n; head -c 100000000 /dev/zero | split -b 5000 -a 6) & done; wait",
        limits: [90_000, 160_000])
    }

    /// The tables of a large directory grow by megabytes at a time. What is removed makes room again.
    @Test func theServerLivesWhereNamesTakeItsAddressSpace() async throws {
      try await serve(
        """
        mkdir d; (cd d; seq 150000 | split -l 1 -a 5); cat .spoolfs/files > /dev/null; rm -r d
        echo again > f || echo full
        """, limits: [75_000, 120_000])
    }

    // MARK: Without what is needed

    @Test(.enabled(if: getuid() == 0)) func withoutProcEverySubcommandSaysSo() async throws {
      try await Sandbox.with { sandbox in
        let script = "mount -t tmpfs none /proc && exec \"$@\""
        for (arguments, status) in [
          (["run", "--", "false"], Int32(125)), (["mount", sandbox.mountPoint.string], 71),
          (["mount", "-f", sandbox.mountPoint.string], 71), (["unmount", sandbox.mountPoint.string], 71),
          (["status"], 71), (["status", sandbox.mountPoint.string], 71), (["status", "--json"], 71),
        ] {
          let outcome = try await sandbox.run(
            "unshare", ["--mount", "sh", "-c", script, "sh", Sandbox.executable.string] + arguments)
          #expect(outcome.exitCode == status, "\(arguments): \(outcome.testDescription)")
          #expect(outcome.errorText == "spoolfs: there is no /proc, which spoolfs needs: mount -t proc proc /proc\n")
          #expect(outcome.output.isEmpty)
        }
        let wrong = try await sandbox.run(
          "unshare", ["--mount", "sh", "-c", script, "sh", Sandbox.executable.string, "mount", "--bogus", "/"])
        #expect(
          wrong.exitCode == 64 && wrong.errorText.contains("Unknown option '--bogus'"), "\(wrong.testDescription)")
      }
    }

    @Test func withoutArgumentsTheHelpIsAnError() async throws {
      try await Sandbox.with { sandbox in
        let outcome = try await sandbox.spoolfs([])
        #expect(outcome.exitCode == 64 && outcome.output.isEmpty, "\(outcome.testDescription)")
        #expect(outcome.errorText.contains("USAGE: spoolfs <subcommand>"), "\(outcome.errorText)")
      }
    }

    @Test func aGuardianWithoutAMountToGuardFails() async throws {
      try await Sandbox.with { sandbox in
        let outcome = try await sandbox.shell(
          "exec 3<&-; exec \"$1\" guard-mount /nonexistent", [Sandbox.executable.string])
        #expect(outcome.exitCode != 0, "\(outcome.testDescription)")
      }
    }

    // MARK: Numbers

    @Test func sizesBeyondAllDisksAreShown() async throws {
      try await Sandbox.with { sandbox in
        let options = ["--size", "1000000t", "--memory", "8000000t", "--spill-max", "8388607t", "--inodes", "8000000t"]
        try await sandbox.spoolfs(["mount"] + options + [sandbox.mountPoint.string]).expect("")
        let status = try await sandbox.spoolfs(["status", sandbox.mountPoint.string])
        #expect(status.succeeded && status.text.contains(" of 976.5 PiB\n"), "\(status.testDescription)")
        #expect(status.text.contains(" of 7.6 EiB\n"), "\(status.text)")
        for arguments in [["status"], ["status", "--json"], ["status", "--json", sandbox.mountPoint.string]] {
          #expect(try await sandbox.spoolfs(arguments).succeeded)
        }
        try await sandbox.inMount("df . > /dev/null; df -i . > /dev/null; stat -f -c %b .").expect("268435456000000\n")
        try await sandbox.spoolfs(["unmount", sandbox.mountPoint.string]).expect("")
      }
    }

    // MARK: Status files

    @Test(arguments: ["writeback", "writethrough", "none"])
    func programsThatCompareInodesCopyStatusFiles(cache: String) async throws {
      try await Sandbox.with { sandbox in
        try await sandbox.spoolfs(["mount", "--cache", cache, sandbox.mountPoint.string]).expect("")
        try await sandbox.inMount("echo data > file; sync file").expect("")
        try await sandbox.inMount(
          """
          for name in stats files; do
            cp .spoolfs/$name copy.$name && cp -a .spoolfs/$name again.$name && install -m 600 .spoolfs/$name made.$name
            [ -s copy.$name ] && [ -s again.$name ] && [ -s made.$name ] || exit 1
          done
          tar -c -f - .spoolfs | tar -t -f - | sort
          stat -c %i .spoolfs/stats .spoolfs/files .spoolfs/stats .spoolfs/files
          ls -i .spoolfs
          """
        ).expect(".spoolfs/\n.spoolfs/files\n.spoolfs/stats\n3\n4\n3\n4\n4 files\n3 stats\n")
        try await sandbox.spoolfs(["unmount", sandbox.mountPoint.string]).expect("")
      }
    }

    // MARK: Bytes

    /// Two directories whose names are the same as strings.
    @Test func pathsThatAreNotUTF8ArriveUnchanged() async throws {
      try await Sandbox.with { sandbox in
        let program = "sed 's/.*\"spill_directory\":\"\\([^\"]*\\)\".*/\\1/; s,.*/,,' $TMPDIR/.spoolfs/stats"
        for option in ["--spill-dir=", "--spill-dir\n", "-o\nspill_dir="] {
          let script = """
            first=$(printf 'spill\\376'); second=$(printf 'spill\\377'); mkdir -p "$first" "$second"
            IFS='
            '
            "$1" run ${2}"$PWD/$second" -- sh -c "$3" "$first" && "$1" run ${2}"$PWD/$first" -- sh -c "$3" "$second"
            """
          let outcome = try await sandbox.shell(script, [Sandbox.executable.string, option, program])
          #expect(outcome.text == "spill\\udcff\nspill\\udcfe\n", "\(option): \(outcome.testDescription)")
        }
        let place = "$(printf 'mount\\377')"
        try await sandbox.shell(
          """
          mkdir \(place) && "$1" mount \(place) && echo data > \(place)/file && cat \(place)/file && "$1" unmount \(place)
          """, [Sandbox.executable.string]
        ).expect("data\n")
      }
    }
  }
}
