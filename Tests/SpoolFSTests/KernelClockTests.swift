import CSpoolSystem
import Dispatch
import Glibc
import SystemPackage
import Testing

@testable import SpoolFS

/// The clock of the tree against stamps that the kernel makes.
@Suite("The kernel's clock")
struct KernelClockTests {
  /// Files that the kernel stamps.
  private final class StampedFiles: @unchecked Sendable {
    // @unchecked: constant.
    private let seen = spool_memory_file("seen")
    private let pipe: (Int32, Int32)

    init() {
      var ends: [Int32] = [-1, -1]
      Glibc.pipe(&ends)
      pipe = (ends[0], ends[1])
    }

    deinit { for file in [seen, pipe.0, pipe.1] { close(file) } }

    /// What a file gets whose times somebody has seen: a fine stamp where the kernel has them.
    func fineStamp() -> Timestamp { stamp { spool_stamp_finely(seen, $0) } }

    /// What a file gets on a filesystem without fine stamps, a FUSE one for example.
    func stamp() -> Timestamp { stamp { spool_stamp_by_touching(pipe.0, $0) } }

    private func stamp(_ body: (UnsafeMutablePointer<timespec>) -> Int32) -> Timestamp {
      var time = timespec()
      if body(&time) != 0 { return Timestamp(seconds: .min) }
      return Timestamp(seconds: Int64(time.tv_sec), nanoseconds: UInt32(time.tv_nsec))
    }
  }

  /// The first violation of the order of stamps that are made one after the other.
  private static func violation(rounds: Int) -> String? {
    let files = StampedFiles()
    var last = files.stamp()
    for round in 0..<rounds {
      var stamps = [last, files.fineStamp(), KernelClock.shared.now, files.stamp(), Timestamp.now]
      if round % 3 == 0 { stamps += [files.fineStamp(), files.fineStamp(), .now] }
      if stamps != stamps.sorted() { return "round \(round): \(stamps)" }
      last = stamps.last!
    }
    return nil
  }

  @Test("what is stamped later has no earlier stamp, whoever stamps")
  func order() throws {
    try KernelClock.shared.followKernel()
    #expect(Self.violation(rounds: 5000) == nil)
  }

  @Test("on many threads too")
  func orderOnThreads() throws {
    try KernelClock.shared.followKernel()
    let violations = ManagedViolations()
    DispatchQueue.concurrentPerform(iterations: 24) { _ in violations.add(Self.violation(rounds: 500)) }
    #expect(violations.all == [])
  }

  @Test("following the kernel twice is following it once")
  func followTwice() throws {
    try KernelClock.shared.followKernel()
    try KernelClock.shared.followKernel()
    #expect(KernelClock.coarse <= KernelClock.shared.now)
  }
}

private final class ManagedViolations: @unchecked Sendable {
  // @unchecked: `lock` protects the variable.
  private let lock = DispatchSemaphore(value: 1)
  private var found: [String] = []

  func add(_ violation: String?) {
    lock.wait()
    defer { lock.signal() }
    found += violation.map { [$0] } ?? []
  }

  var all: [String] { found }
}
