import Glibc
import SystemPackage
import Testing

@testable import spoolfs

extension CommandTests {
  /// The command as mount(8) calls it, by the real one: with the helper in a mount namespace of its own.
  @Suite(.serialized, .timeLimit(.minutes(10)), .enabled(if: getuid() == 0, "takes root"))
  struct MountHelperCalls {
    /// Runs `script` in a mount namespace where mount(8) finds the helper, as root; `$1` is the mount point.
    private func inNamespace(_ sandbox: Sandbox, _ script: String) async throws -> Outcome {
      // Another filesystem over the directory of helpers, which shows what is there as well.
      let setUp = """
        mount --make-rprivate /
        t=$2/helpers; mkdir -p $t; mount -t tmpfs none $t; mkdir $t/upper $t/work
        helpers=$(readlink -f /sbin)
        mount -t overlay overlay -o lowerdir=$helpers,upperdir=$t/upper,workdir=$t/work $helpers
        ln -s "$3" $helpers/mount.spoolfs
        flags() { findmnt -n -o VFS-OPTIONS "$1" | tr , '\\n' | grep -E '^no(suid|dev|exec)$|^ro$' | xargs; }

        """
      return try await sandbox.run(
        "unshare",
        ["--mount", "sh", "-c", setUp + script, "sh", sandbox.mountPoint.string, sandbox.work.string]
          + [Sandbox.executable.string])
    }

    /// mount(8) hands none of its defaults on, suid and dev among them.
    @Test(arguments: [
      ("", ""), ("suid,dev", ""), ("defaults", ""), ("nosuid", "nosuid"), ("nodev", "nodev"), ("suid,nosuid", "nosuid"),
      ("nosuid,suid,dev", ""), ("user", "nosuid nodev noexec"), ("user,suid,exec", "nodev"), ("owner", "nosuid nodev"),
      ("ro,noexec", "ro noexec"),
    ])
    func rootsMountsHaveTheFlagsThatMountSays(options: String, flags: String) async throws {
      try await Sandbox.with { sandbox in
        let option = options.isEmpty ? "" : "-o \(options)"
        let outcome = try await inNamespace(
          sandbox, "mount -t spoolfs \(option) none \"$1\" && flags \"$1\"; umount \"$1\"")
        outcome.expect(flags + "\n")
      }
    }

    @Test func fstabsFlagsAreThoseOfTheMount() async throws {
      try await Sandbox.with { sandbox in
        let script = """
          echo "none $1 spoolfs size=1m,noauto,suid,dev 0 0" > $2/fstab
          mount --fstab $2/fstab "$1" && flags "$1"; df --output=size "$1" | tail -1
          cp "$(command -v id)" "$1/id"; chown 65534 "$1/id"; chmod 4755 "$1/id"; "$1/id" -u
          mknod "$1/null" c 1 3 && echo > "$1/null" && echo device
          umount "$1"
          """
        try await inNamespace(sandbox, script).expect("\n     1024\n65534\ndevice\n")
      }
    }

    /// `-f` makes mount(8) do all but the mount, so that it says what is wrong with the options.
    @Test func aFakeMountMountsNothing() async throws {
      try await Sandbox.with { sandbox in
        let script = """
          mount -f -t spoolfs -o size=1m none "$1"; echo $?
          mount -fnv -t spoolfs none "$1" > /dev/null; echo $?
          mountpoint -q "$1" || echo "not mounted"
          mount -f -t spoolfs -o bogus none "$1" 2>/dev/null; echo $?
          """
        try await inNamespace(sandbox, script).expect("0\n0\nnot mounted\n64\n")
      }
    }

    @Test func aSloppyMountPassesOverUnknownOptions() async throws {
      try await Sandbox.with { sandbox in
        let script = """
          mount -t spoolfs -o bogus,size=1m none "$1" 2>/dev/null; echo $?
          mount -s -t spoolfs -o bogus=1,size=1m,huge=never none "$1"; echo $?
          df --output=size "$1" | tail -1; umount "$1"
          mount -s -t spoolfs -o size=bogus none "$1" 2>/dev/null; echo $?
          """
        try await inNamespace(sandbox, script).expect("64\n0\n     1024\n64\n")
      }
    }

    /// mount(8) leaves entering the namespace to its helper.
    @Test func itMountsInTheNamespaceAskedFor() async throws {
      try await Sandbox.with { sandbox in
        let script = """
          unshare --mount sleep 1000 & other=$!
          while [ "$(readlink /proc/$other/ns/mnt)" = "$(readlink /proc/self/ns/mnt)" ]; do sleep 0.05; done
          mount -N $other -t spoolfs none "$1"; echo $?
          mountpoint -q "$1" || echo "not here"
          nsenter --mount=/proc/$other/ns/mnt mountpoint -q "$1" && echo there
          nsenter --mount=/proc/$other/ns/mnt umount "$1"
          kill $other; wait $other 2>/dev/null
          mount -N /nonexistent -t spoolfs none "$1" 2>/dev/null || echo refused
          """
        try await inNamespace(sandbox, script).expect("0\nnot here\nthere\nrefused\n")
      }
    }

    @Test(.enabled(if: Sandbox.users.count > 1, "takes a user without privileges"))
    func otherUsersAreToldThatTheyCannotHaveSetUserIDsAndDevices() async throws {
      let message = "spoolfs: -o suid and -o dev are for root: leave them out, or have root mount with allow_other\n"
      try await Sandbox.with(user: Sandbox.nobody) { sandbox in
        for options in ["suid", "dev", "suid,dev"] {
          let mount = try await sandbox.spoolfs(["mount", "-o", options, sandbox.mountPoint.string])
          #expect(mount.exitCode == 77 && mount.errorText == message, "\(mount.testDescription)")
          let run = try await sandbox.spoolfs(["run", "-o", options, "true"])
          #expect(run.exitCode == 125 && run.errorText == message, "\(run.testDescription)")
        }
        // Under the helper's name it is what fstab(5) says for users.
        let helper = sandbox.work.appending("mount.spoolfs")
        try #require(symlink(Sandbox.executable.string, helper.string) == 0)
        let refused = try await sandbox.run(
          helper.string, ["none", sandbox.mountPoint.string, "-o", "rw,noexec,nodev,user,suid"])
        #expect(refused.exitCode == 77 && refused.errorText == message, "\(refused.testDescription)")
        try await sandbox.run(helper.string, ["none", sandbox.mountPoint.string, "-o", "rw"]).expect("")
        #expect(sandbox.mounts[0].options.isSuperset(of: ["nosuid", "nodev"]))
        try await sandbox.spoolfs(["unmount", sandbox.mountPoint.string]).expect("")
      }
    }
  }

  /// How mount(8)'s command lines become ours.
  @Suite struct MountHelperCommandLines {
    private func translated(_ arguments: String..., isPrivileged: Bool = true) -> [String] {
      let words = arguments.map { UnsafePointer(strdup($0)!) }
      return MountHelper.commandLine(arguments: words[...], isPrivileged: isPrivileged).map { String(cString: $0) }
    }

    @Test func operandsAndOptionsMayComeInAnyOrder() {
      let start = ["spoolfs", "mount", "-o", "suid,dev"]
      #expect(translated("none", "/mnt") == start + ["--", "/mnt"])
      #expect(translated("none", "/mnt", "-o", "rw,nosuid") == start + ["-o", "rw,nosuid", "--", "/mnt"])
      #expect(
        translated("-n", "-o", "rw", "none", "-t", "fuse.spoolfs", "-v", "/mnt") == start + ["-o", "rw", "--", "/mnt"])
      #expect(translated("none", "/mnt", isPrivileged: false) == ["spoolfs", "mount", "--", "/mnt"])
    }

    @Test func flagsMayBeInOneWord() {
      let start = ["spoolfs", "mount"]
      #expect(translated("none", "/mnt", "-f", isPrivileged: false) == start + ["--fake", "--", "/mnt"])
      #expect(translated("none", "/mnt", "-sfnv", isPrivileged: false) == start + ["--fake", "--sloppy", "--", "/mnt"])
      #expect(
        translated("none", "/mnt", "-N", "/proc/1/ns/mnt", isPrivileged: false)
          == start + ["--namespace", "/proc/1/ns/mnt", "--", "/mnt"])
      // What is unknown, or lacks its value, is for the parser to refuse.
      #expect(translated("none", "/mnt", "-x", isPrivileged: false) == start + ["--", "/mnt", "-x"])
      #expect(translated("none", "/mnt", "-o", isPrivileged: false) == start + ["-o"])
    }
  }
}
