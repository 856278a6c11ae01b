import Glibc
import SystemPackage
import Testing

@testable import SpoolStorage

@Suite struct SpillDirectoryTests {
  @Test(arguments: [true, false], [true, false])
  func `a spill file never has a name, with and without O_TMPFILE`(unnamed: Bool, encrypts: Bool) throws {
    let scratch = ScratchDirectory()
    let directory = try SpillDirectory(scratch.path, unnamed: unnamed)
    #expect(scratch.names == [])
    let store = try SpoolStore(
      SpoolConfiguration(threshold: .bytes(10), memoryBudget: 1 << 20, encryptsSpill: encrypts), directory: directory)
    let file = FileContent(store: store)
    try file.write(pattern(100_000), at: 5)
    #expect(file.isRolledOver)
    #expect(scratch.names == [])
    try expect(file, reads: [0, 0, 0, 0, 0] + pattern(100_000), asking: 200_000)
  }

  @Test func `a directory that cannot be used is refused with its reason`() throws {
    #expect(throws: Errno.noSuchFileOrDirectory) { try makeStore(directory: "/nonexistent/directory") }
    #expect(throws: Errno.notDirectory) { try makeStore(directory: "/proc/self/stat") }
    if geteuid() != 0 {
      let scratch = ScratchDirectory()
      chmod(scratch.path.string, 0o500)
      #expect(throws: Errno.permissionDenied) { try makeStore(directory: scratch.path) }
    }
  }

  @Test func `a directory moved away is still used`() throws {
    let scratch = ScratchDirectory()
    let moved = scratch.path.appending("moved")
    let inner = scratch.path.appending("inner")
    mkdir(inner.string, 0o700)
    defer { rmdir(moved.string) }
    let store = try makeStore(directory: inner)
    rename(inner.string, moved.string)
    let file = FileContent(store: store)
    try file.write([1], at: 0)
    try file.rollOver()
    #expect(try file.read(2) == [1])
  }

  @Test func `free bytes are those of the directory's filesystem`() throws {
    #expect(try makeStore().spillDirectoryFreeBytes() > 0)
    #expect(try makeStore(capacity: 0).spillDirectoryFreeBytes() == 0)
  }

  @Test func `the store opens as many descriptors as the process may have`() throws {
    _ = try makeStore()
    var limit = rlimit()
    getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    #expect(limit.rlim_cur == limit.rlim_max)
  }
}

@Suite struct UsableMemoryTests {
  private static func limit(_ membership: String, _ files: [String: String]) -> Int64? {
    ControlGroups(membership: membership).memoryLimit { files[$0] }
  }

  @Test func `the smallest limit of the group and those above it counts`() {
    let files = [
      "/sys/fs/cgroup/user.slice/session/memory.max": "max\n",
      "/sys/fs/cgroup/user.slice/memory.max": "4294967296\n",
      "/sys/fs/cgroup/memory.max": "8589934592\n",
    ]
    #expect(Self.limit("0::/user.slice/session\n", files) == 4 << 30)
    #expect(Self.limit("0::/other\n", files) == 8 << 30)
  }

  @Test func `version 1 has its own hierarchy`() {
    let files = [
      "/sys/fs/cgroup/memory/job/memory.limit_in_bytes": "1073741824\n",
      "/sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
    ]
    #expect(Self.limit("9:name=systemd:/\n4:cpu,memory:/job\n0::/\n", files) == 1 << 30)
    #expect(Self.limit("4:cpuset:/job\n", files) == nil)
  }

  @Test func `in a container the group's path is not there, and the root is the group`() {
    let files = ["/sys/fs/cgroup/memory.max": "536870912\n"]
    #expect(Self.limit("0::/docker/0123456789abcdef\n", files) == 512 << 20)
    #expect(Self.limit("", files) == nil)
    #expect(Self.limit("nonsense\n0:::\n", [:]) == nil)
  }

  @Test func `the default budget is a quarter of what may be used`() throws {
    let store = try SpoolStore(SpoolConfiguration(spillDirectory: "/var/tmp"))
    #expect(store.configuration.memoryBudget == usableMemory() / 4)
    #expect(store.configuration.memoryBudget > 0)
  }
}
