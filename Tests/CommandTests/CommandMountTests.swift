import Glibc
import SystemPackage
import Testing

extension CommandTests {
  /// `spoolfs mount` and `unmount`.
  @Suite(.serialized, .timeLimit(.minutes(10))) struct MountAndUnmount {
    @Test(arguments: Sandbox.users)
    func mountReturnsWhenTheTreeIsUsableAndUnmountWhenItIsGone(of user: uid_t?) async throws {
      try await Sandbox.with(user: user) { sandbox in
        let mount = try await sandbox.spoolfs(["mount", sandbox.mountPoint.string])
        try #require(mount.succeeded, "\(mount.testDescription)")
        #expect(mount.output.isEmpty && mount.errorOutput.isEmpty)
        #expect(sandbox.mounts.map(\.path) == [sandbox.mountPoint])
        #expect(sandbox.mounts[0].type == "fuse.spoolfs")
        #expect(sandbox.mounts[0].options.isSuperset(of: ["nosuid", "nodev"]))
        try await sandbox.inMount("echo data > file && stat -c %a . && cat file").expect(
          "700\ndata\n")

        let server = try #require(sandbox.serverProcess)
        let unmount = try await sandbox.spoolfs(["unmount", sandbox.mountPoint.string])
        #expect(unmount.succeeded && unmount.errorOutput.isEmpty, "\(unmount.testDescription)")
        #expect(!isAlive(server))
        #expect(sandbox.mounts.isEmpty && sandbox.mountPoint.entries.isEmpty)
      }
    }

    @Test func theServerIsADaemon() async throws {
      try await Sandbox.with { sandbox in
        // Command substitution ends when everybody has closed the output.
        let script = "said=$(\"$1\" mount \"$2\" 2>&1) && echo \"[$said]\""
        try await sandbox.shell(script, [Sandbox.executable.string, sandbox.mountPoint.string]).expect("[]\n")
        let server = try #require(sandbox.serverProcess)
        #expect(getsid(server) == server)
        #expect(FilePath("/proc/\(server)/cwd").target == "/")
        for descriptor in 0...2 { #expect(FilePath("/proc/\(server)/fd/\(descriptor)").target == "/dev/null") }
        try await sandbox.spoolfs(["umount", sandbox.mountPoint.string]).expect("")
      }
    }

    /// A sanitizer has an allocator of its own; from 16 processors on there are more arenas.
    @Test(
      .enabled(
        if: dlsym(nil, "__asan_init") == nil && dlsym(nil, "__tsan_init") == nil
          && sysconf(Int32(_SC_NPROCESSORS_ONLN)) < 16))
    func theMemoryOfSmallFilesIsInOnePlaceAndGoesBack() async throws {
      try await Sandbox.with { sandbox in
        try await sandbox.spoolfs(["mount", sandbox.mountPoint.string]).expect("")
        let server = try #require(sandbox.serverProcess)
        let before = heapKilobytes(of: server)
        let fill = "fill() { i=0; while [ $i -lt $2 ]; do head -c 25000 /dev/zero > $1$i; i=$((i + 1)); done }; "
        // It grows by megabytes.
        try await sandbox.inMount(fill + "fill a 40").expect("")
        #expect(heapKilobytes(of: server, "Size:") >= 8 << 10)
        // 2000 files of 25 KB, from two programs at once.
        try await sandbox.inMount(fill + "fill a 1000 & fill b 1000 & wait; ls | wc -l").expect("2000\n")
        #expect(heapKilobytes(of: server) - before > 40_000)
        try await sandbox.inMount("rm [ab]*").expect("")
        #expect(await eventually { heapKilobytes(of: server) - before < 10_000 })
        try await sandbox.spoolfs(["unmount", sandbox.mountPoint.string]).expect("")
      }
    }

    @Test func umountOfTheSystemEndsTheServer() async throws {
      try await Sandbox.with { sandbox in
        try await sandbox.spoolfs(["mount", sandbox.mountPoint.string]).expect("")
        try await sandbox.run("umount", [sandbox.mountPoint.string]).expect("")
        #expect(await eventually { sandbox.processes.isEmpty })
      }
    }

    @Test func inTheForegroundItEndsWithTheMount() async throws {
      try await Sandbox.with { sandbox in
        let arguments = ["mount", "--foreground", sandbox.mountPoint.string]
        let mount = try await sandbox.withRunning(Sandbox.executable.string, arguments) { program in
          try #require(await eventually { sandbox.mounts.count == 1 })
          #expect(isAlive(program.process))
          try await sandbox.spoolfs(["unmount", sandbox.mountPoint.string]).expect("")
          #expect(!isAlive(program.process))
        }
        #expect(mount.outcome.exitCode == 0, "\(mount.outcome.testDescription)")
      }
    }

    @Test(arguments: ["relative", "./a/../relative/", "name with space", "tab\tname", "back\\slash", "ünïcode"])
    func anyNameOfADirectoryWillDo(name: String) async throws {
      try await Sandbox.with { sandbox in
        try await sandbox.shell("mkdir -p a \"$1\" && ln -s \"$1\" link", [name], in: sandbox.work)
        for given in [name, "link"] {
          try await sandbox.spoolfs(["mount", given]).expect("")
          #expect(sandbox.mounts.map(\.path) == [sandbox.work.pushing(FilePath(name)).lexicallyNormalized()])
          try await sandbox.spoolfs(["unmount", given]).expect("")
        }
      }
    }

    @Test func namesAreBytes() async throws {
      try await Sandbox.with { sandbox in
        let script = """
          d=$(printf 'n\\377me') && mkdir "$d" && "$1" mount "$d" && stat -f -c %T "$d" && "$1" unmount "$d" && rmdir "$d"
          """
        let outcome = try await sandbox.shell(script, [Sandbox.executable.string])
        #expect(outcome.succeeded && outcome.text.hasPrefix("fuse"), "\(outcome.testDescription)")
      }
    }

    @Test(arguments: Sandbox.users)
    func aMountPointThatIsNotEmptyNeedsAnOption(of user: uid_t?) async throws {
      try await Sandbox.with(user: user) { sandbox in
        try await sandbox.shell("echo below > \"$1/file\"", [sandbox.mountPoint.string]).expect("")
        for option in [["--nonempty"], ["-o", "nonempty"]] {
          try await sandbox.spoolfs(["mount"] + option + [sandbox.mountPoint.string]).expect("")
          #expect(sandbox.mounts.count == 1)
          try await sandbox.inMount("ls -A").expect("")
          try await sandbox.spoolfs(["unmount", sandbox.mountPoint.string]).expect("")
        }
        try await sandbox.shell("cat \"$1/file\" && rm \"$1/file\"", [sandbox.mountPoint.string]).expect("below\n")
      }
    }

    /// The server and its guardian both killed: nobody was left to unmount.
    @Test(arguments: Sandbox.users)
    func aDeadMountIsReplaced(of user: uid_t?) async throws {
      try await Sandbox.with(user: user) { sandbox in
        for again in ["mount", "unmount"] {
          try await sandbox.spoolfs(["mount", sandbox.mountPoint.string]).expect("")
          // The kernel then answers stat(2) from its cache, also when the server has died.
          try await sandbox.inMount("touch file && stat file . > /dev/null").expect("")
          // On a busy machine the guardian may not show its command yet.
          try #require(await eventually { sandbox.processes.contains { $0.command.contains(" guard-mount ") } })
          for guardian in sandbox.processes where guardian.command.contains(" guard-mount ") {
            kill(guardian.identifier, SIGKILL)
          }
          kill(try #require(sandbox.serverProcess), SIGKILL)
          try #require(await eventually { sandbox.processes.isEmpty })
          #expect(sandbox.mounts.count == 1)
          let status = try await sandbox.spoolfs(["status", sandbox.mountPoint.string])
          #expect(status.exitCode == 1)
          #expect(status.errorText == "spoolfs: \(sandbox.mountPoint) does not answer: its server has died\n")

          let outcome = try await sandbox.spoolfs([again, sandbox.mountPoint.string])
          #expect(outcome.succeeded, "\(outcome.testDescription)")
          if again == "unmount" { continue }
          #expect(
            outcome.errorText == "spoolfs: \(sandbox.mountPoint) was a mount whose server had died; detached it\n")
          try await sandbox.inMount("echo data > file && cat file").expect("data\n")
          try await sandbox.spoolfs(["unmount", sandbox.mountPoint.string]).expect("")
        }
      }
    }

    @Test func whoeverStartsItAndIsGoneGetsNoMount() async throws {
      try await Sandbox.with { sandbox in
        // As when Ctrl-C ends the command while its server is still on the way: nobody reads the report.
        let script = "{ sleep 0.3; exec \"$1\" mount --report-descriptor=1 \"$2\"; } | exec true"
        try await sandbox.shell(script, [Sandbox.executable.string, sandbox.mountPoint.string]).expect("")
        #expect(await eventually { sandbox.processes.isEmpty })
        #expect(sandbox.mounts.isEmpty)
      }
    }

    @Test func theMountProgramOfTheSystemIsUnderstood() async throws {
      try await Sandbox.with { sandbox in
        let helper = sandbox.work.appending("mount.spoolfs")
        try #require(symlink(Sandbox.executable.string, helper.string) == 0)
        // As mount(8) calls it for: mount -t spoolfs -o size=1m,… none DIR
        let arguments = [
          "none", sandbox.mountPoint.string, "-n", "-o", "rw,noatime,size=1m,nofail,x-systemd.automount",
        ]
        try await sandbox.run(helper.string, arguments).expect("")
        try await sandbox.run("df", ["--output=size", sandbox.mountPoint.string]).expect("1K-blocks\n     1024\n")
        try await sandbox.spoolfs(["unmount", sandbox.mountPoint.string]).expect("")
        #expect(try await sandbox.run(helper.string, ["none", "/nonexistent"]).exitCode == 66)
      }
    }

    @Test func unmountTellsWhoUsesTheTree() async throws {
      try await Sandbox.with { sandbox in
        try await sandbox.spoolfs(["mount", sandbox.mountPoint.string]).expect("")
        try await sandbox.inMount("cp \"$(command -v sleep)\" sleep && echo > file")
        let file = sandbox.mountPoint.appending("file").string
        // A working directory, a descriptor, a program that runs from there, a mapping without a descriptor.
        let users: [(program: String, arguments: [String], directory: FilePath)] = [
          ("sleep", ["1000"], sandbox.mountPoint),
          ("sh", ["-c", "exec 3< '\(file)'; exec sleep 1000"], sandbox.work),
          (sandbox.mountPoint.appending("sleep").string, ["1000"], sandbox.work),
          ("python3", ["-c", Self.mapping, file], sandbox.work),
        ]
        for user in users {
          _ = try await sandbox.withRunning(user.program, user.arguments, in: user.directory) { program in
            try #require(await eventually { uses(program.process, sandbox.mountPoint) })
            let outcome = try await sandbox.spoolfs(["unmount", sandbox.mountPoint.string])
            #expect(outcome.exitCode == 75)
            #expect(outcome.errorText.contains("in use by \(program.process) ("), "\(user): \(outcome.testDescription)")
            program.send(SIGKILL)
          }
        }
        try await sandbox.spoolfs(["unmount", sandbox.mountPoint.string]).expect("")
      }
    }

    /// Whether the process is where the test wants it.
    private func uses(_ process: pid_t, _ mountPoint: FilePath) -> Bool {
      let directory = FilePath("/proc/\(process)")
      let file = "\(mountPoint)/file"
      return directory.appending("cwd").target == mountPoint.string
        || directory.appending("exe").target == mountPoint.appending("sleep").string
        || directory.pushing("fd/3").target == file && directory.appending("comm").bytes.starts(with: "sleep".utf8)
        || directory.pushing("fd/3").target == nil
          && String(decoding: directory.appending("maps").bytes, as: UTF8.self).contains(file)
    }

    private static let mapping = """
      import mmap, sys, time
      with open(sys.argv[1], "r+b") as file: kept = mmap.mmap(file.fileno(), 0)
      time.sleep(1000)
      """
  }
}

/// Whether the process still runs; one that waits for its parent's attention (a zombie) has ended.
func isAlive(_ process: pid_t) -> Bool {
  let status = String(decoding: FilePath("/proc/\(process)/stat").bytes, as: UTF8.self)
  guard let state = status.split(separator: ")").last?.split(separator: " ").first else { return false }
  return state != "Z" && state != "X"
}

/// What sbrk(2) gave the process, and what is resident of that.
private func heapKilobytes(of process: pid_t, _ figure: String = "Rss:") -> Int {
  var isHeap = false
  for line in String(decoding: FilePath("/proc/\(process)/smaps").bytes, as: UTF8.self).split(separator: "\n") {
    if line.hasSuffix("[heap]") { isHeap = true }
    if isHeap, line.hasPrefix(figure) { return Int(line.split(separator: " ")[1]) ?? 0 }
  }
  return 0
}

extension FilePath {
  /// Where a symbolic link leads.
  var target: String? {
    var bytes = [UInt8](repeating: 0, count: Int(PATH_MAX))
    let count = readlink(string, &bytes, bytes.count)
    return count < 0 ? nil : String(decoding: bytes[..<count], as: UTF8.self)
  }
}

extension Outcome {
  /// Expects success, this output, and nothing on stderr.
  func expect(_ output: String, sourceLocation: SourceLocation = #_sourceLocation) {
    #expect(
      succeeded && text == output && errorOutput.isEmpty, "\(testDescription)", sourceLocation: sourceLocation)
  }
}
