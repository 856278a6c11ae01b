import Glibc
import SystemPackage
import Testing

extension CommandTests {
  /// What a control group's limit of memory does to a mount whose server, writers and page cache are all in it.
  @Suite struct ControlGroupTests {
    /// Bytes of a group, and whether programs run as root.
    private static let groups = [96, 64, 48].map { $0 << 20 }

    @Test(.enabled(if: MemoryGroup.canBeMade), arguments: groups, Sandbox.users)
    func nobodyDiesInASmallGroup(bytes: Int, user: uid_t?) async throws {
      try await Sandbox.with(user: user) { sandbox in
        let group = try MemoryGroup(limit: bytes)
        let outcome = try await group.run(in: sandbox, Self.writer)
        #expect(outcome.succeeded, "\(outcome.testDescription)")
        #expect(group.kills == 0)
        try await group.remove()
      }
    }

    /// Root's mounts limit what a mapping has dirty. An ordinary user's in a group of version 1 may be stuck: see
    /// docs/design.md, "How far a writer may be ahead".
    @Test(.enabled(if: MemoryGroup.canBeMade), arguments: [128, 96].map { $0 << 20 })
    func nobodyDiesWhoMapsFiles(bytes: Int) async throws {
      try await Sandbox.with { sandbox in
        let group = try MemoryGroup(limit: bytes)
        let outcome = try await group.run(in: sandbox, Self.mapper)
        #expect(outcome.succeeded, "\(outcome.testDescription)")
        #expect(group.kills == 0)
        try await group.remove()
      }
    }

    /// Three times the group's memory, written, copied and compared.
    private static let writer = """
      set -e
      for name in a b c; do head -c 40000000 /dev/urandom >$name; done
      for name in a b c; do cp $name $name.copy; cmp $name $name.copy; done
      """

    private static let mapper = """
      exec python3 -c '
      import mmap, os
      file = os.open("mapped", os.O_RDWR | os.O_CREAT)
      size = 80 << 20
      os.ftruncate(file, size)
      with mmap.mmap(file, size) as view:
          for at in range(0, size, 4096): view[at : at + 8] = at.to_bytes(8, "little")
          view.flush()
      with open("mapped", "rb") as again:
          for at in range(0, size, 4096): assert again.read(4096)[:8] == at.to_bytes(8, "little"), at
      '
      """
  }
}

/// A control group with a limit of memory, of whichever version has the memory controller here.
private struct MemoryGroup {
  /// The directory to make groups in, and what the files are called there.
  private struct Version {
    var parent: FilePath
    var limit: String
    var events: String
  }

  private static let version: Version? = {
    let candidates = [
      Version(parent: "/sys/fs/cgroup/memory", limit: "memory.limit_in_bytes", events: "memory.oom_control"),
      Version(parent: "/sys/fs/cgroup", limit: "memory.max", events: "memory.events"),
    ]
    return candidates.first { candidate in
      let trial = candidate.parent.appending("spoolfs-trial-\(getpid())")
      guard mkdir(trial.string, 0o755) == 0 else { return false }
      defer { rmdir(trial.string) }
      return trial.appending(candidate.limit).exists
    }
  }()

  static let canBeMade = geteuid() == 0 && version != nil

  private let directory: FilePath
  private let version: Version

  init(limit: Int) throws {
    version = try #require(Self.version)
    directory = version.parent.appending("spoolfs-test-\(getpid())-\(UInt32.random(in: 0 ... .max))")
    guard mkdir(directory.string, 0o755) == 0 else { throw Errno(rawValue: errno) }
    try directory.appending(version.limit).write("\(limit)".utf8)
  }

  /// Runs `script` by `spoolfs run` in this group. Whoever is not done after two minutes is stuck: the mount is then
  /// aborted, because nothing else ends a server that waits for its own mount.
  func run(in sandbox: Sandbox, _ script: String) async throws -> Outcome {
    let procs = directory.appending("cgroup.procs").string
    let words = sandbox.commandLine(
      Sandbox.executable.string, ["run", "--", "sh", "-c", "cd \"$TMPDIR\" && \(script)"])
    let watchdog = Task {
      try await Task.sleep(for: .seconds(120))
      for mount in sandbox.mounts { umount2(mount.path.string, Int32(MNT_FORCE)) }
    }
    defer { watchdog.cancel() }
    return try await sandbox.runAsRoot("sh", ["-c", "echo $$ >\(procs); exec \"$@\"", "sh"] + words)
  }

  /// Processes that the kernel has killed for want of memory.
  var kills: Int? {
    let text = String(decoding: directory.appending(version.events).bytes, as: UTF8.self)
    return text.split(separator: "\n").first { $0.hasPrefix("oom_kill ") }.flatMap { Int($0.dropFirst(9)) }
  }

  func remove() async throws {
    #expect(await eventually { rmdir(directory.string) == 0 }, "\(directory) stays")
  }
}
