import CSpoolSystem
import Glibc
import Synchronization
import SystemPackage
import Testing

@testable import SpoolStorage

@Suite struct SystemThreadTests {
  /// A fault that is blocked ends the process without a backtrace.
  @Test func `signals are blocked in a thread, but for those of its own faults`() throws {
    let blocked = Mutex<Set<Int32>?>(nil)
    let done = EventCount()
    try SystemThread.start(named: "test") {
      var mask = sigset_t()
      pthread_sigmask(SIG_BLOCK, nil, &mask)
      blocked.withLock { [mask] found in
        var mask = mask
        found = Set(
          [SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGABRT, SIGTERM, SIGINT].filter { sigismember(&mask, $0) == 1 })
      }
      done.signal()
    }
    for _ in 0..<100 {
      let seen = done.current()
      if blocked.withLock({ $0 != nil }) { break }
      done.wait(after: seen, timeout: .milliseconds(100))
    }
    #expect(blocked.withLock { $0 } == [SIGTERM, SIGINT])
  }

  @Test func `a thread that cannot be had is an error`() {
    #expect(throws: Errno.resourceTemporarilyUnavailable) {
      try SystemThread.start(named: "test", stackSize: 1 << 46) {}
    }
  }

  private static func mappedBytes() -> UInt64 {
    let text = contentsOfSystemFile("/proc/self/statm") ?? ""
    return (text.split(separator: " ").first.flatMap { UInt64($0) } ?? 0) * UInt64(getpagesize())
  }

  private static func limitAddressSpace(to bytes: UInt64) {
    var limit = rlimit()
    getrlimit(__rlimit_resource_t(RLIMIT_AS.rawValue), &limit)
    limit.rlim_cur = rlim_t(bytes)
    setrlimit(__rlimit_resource_t(RLIMIT_AS.rawValue), &limit)
  }

  @Test func `files leave address space to others`() async {
    await #expect(processExitsWith: .success) {
      Self.limitAddressSpace(to: Self.mappedBytes() + 64 << 20)
      #expect(Self.usableBudget() <= 32 << 20)
      let pool = ChunkPool()
      var chunks = 0
      while pool.allocate() != nil { chunks += 1 }
      #expect(chunks > 0)
      #expect(spool_map_memory(12 << 20) != nil)
      #expect(!AddressSpace.hasRoom(for: 0))
      #expect(throws: Errno.noSpace) { try Headroom().look() }
    }
  }

  private static func usableBudget() -> Int64 {
    SpoolConfiguration(memoryBudget: 1 << 40).resolved(spillDirectory: nil, isEncrypting: false).memoryBudget
  }
}
