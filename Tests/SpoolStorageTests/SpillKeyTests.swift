import CHostCalls
import Glibc
import SystemPackage
import Testing

@testable import SpoolStorage

/// What concerns the process's memory happens in a process of its own.
@Suite struct SpillKeyTests {
  /// How many mappings are locked, not in core dumps, and wiped in children.
  private static func secretMappings() -> Int {
    (contentsOfSystemFile("/proc/self/smaps") ?? "").split(separator: "\n").count { line in
      let flags = line.split(separator: " ")
      return flags.first == "VmFlags:" && ["lo", "dd", "wf"].allSatisfy { flags.contains($0) }
    }
  }

  /// Sanitizers replace mlock(2) by a function that does nothing, and succeeds where nothing is mapped.
  private static let locksMemory = mlock(UnsafeRawPointer(bitPattern: 4096)!, 1) != 0

  @Test(.enabled(if: locksMemory)) func `the key is in memory of its own, and gone with the last file`() async {
    await #expect(processExitsWith: .success) {
      #expect(Self.secretMappings() == 0)
      do {
        let file = FileContent(store: try makeStore(encrypts: true), threshold: .bytes(0))
        try file.write(pattern(100), at: 0)
        #expect(Self.secretMappings() == 1)
      }
      #expect(Self.secretMappings() == 0)
      _ = try makeStore()
      #expect(Self.secretMappings() == 0)
    }
  }

  @Test(.enabled(if: locksMemory)) func `a store whose key cannot be locked is not made`() async {
    await #expect(processExitsWith: .success) {
      // For root there is no limit.
      if geteuid() == 0 { #expect(setuid(65_534) == 0) }
      var limit = rlimit(rlim_cur: 0, rlim_max: 0)
      setrlimit(__rlimit_resource_t(__RLIMIT_MEMLOCK.rawValue), &limit)
      #expect(throws: Errno.notPermitted) { try makeStore(encrypts: true) }
      _ = try makeStore()
    }
  }

  @Test func `a forked child has no key, and can neither read nor write`() async {
    await #expect(processExitsWith: .success) {
      let file = FileContent(store: try makeStore(encrypts: true), threshold: .bytes(0))
      try file.write(pattern(10_000), at: 0)
      try file.synchronize()
      func isRefused(_ body: () throws -> Void) -> Bool {
        do { try body() } catch { return (error as? Errno)?.rawValue == ENOKEY }
        return false
      }
      let child = host_fork()
      if child == 0 {
        let isReadRefused = isRefused { _ = try file.read(3) }
        let areWritesRefused = [0, 4096, 20_000].allSatisfy { (offset: Int64) in
          isRefused { try file.write([1], at: offset) }
        }
        _exit(isReadRefused && areWritesRefused ? 42 : 1)
      }
      var status: Int32 = 0
      #expect(waitpid(child, &status, 0) == child)
      #expect(status == 42 << 8)
      try expect(file, reads: pattern(10_000), asking: 30_000)
    }
  }
}
