import CHostCalls
import CSpoolSystem
import Foundation
import SpoolStorage
import Synchronization

/// Writes and stats a file of another filesystem again and again, as builds do.
///
/// Since Linux 6.13 the kernel stamps a file whose times somebody has seen with a fine time, and everything that it stamps
/// after that with at least the same.
final class StampingNeighbour: Sendable {
  private let isEnding = Atomic(false)
  private let hasEnded = DispatchSemaphore(value: 0)

  init() {
    let file = spool_memory_file("neighbour")
    precondition(file >= 0, "no memory file")
    Thread.detachNewThread { [self] in
      var status = stat()
      // A minute at most, whatever becomes of the test.
      for _ in 0..<1_000_000 where !isEnding.load(ordering: .relaxed) {
        pwrite(file, "x", 1, 0)
        fstat(file, &status)
        usleep(60)
      }
      close(file)
      hasEnded.signal()
    }
  }

  func end() {
    isEnding.store(true, ordering: .relaxed)
    hasEnded.wait()
  }

  /// Runs `body`, with a neighbour at work where `isThere`.
  static func beside(_ isThere: Bool, _ body: () throws -> Void) rethrows {
    let neighbour = isThere ? StampingNeighbour() : nil
    defer { neighbour?.end() }
    try body()
  }
}
