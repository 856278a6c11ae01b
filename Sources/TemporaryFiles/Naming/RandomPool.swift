internal import CSpoolSystem
internal import Glibc
internal import SpoolStorage

/// The system's random source, asked for 32 words at once: asking is a system call, dearer than making a name.
///
/// The words are kept in memory that a forked child finds empty, so it never repeats its parent's.
struct RandomPool: RandomNumberGenerator {
  /// All zero at first, and again in a forked child: the lock is free then, and no words are left.
  private struct State: ~Copyable {
    let lock = Lock()
    var left = 0
    /// 256 bytes: as many as getentropy(3) gives.
    var words = InlineArray<32, UInt64>(repeating: 0)
  }

  private nonisolated(unsafe) static let state: UnsafeMutablePointer<State>? =
    spool_map_wiped_on_fork(MemoryLayout<State>.size)?.assumingMemoryBound(to: State.self)

  mutating func next() -> UInt64 {
    // Kernels before 4.14 cannot wipe.
    guard let state = Self.state, let word = Self.take(from: state) else { return UInt64.random(in: .min ... .max) }
    return word
  }

  private static func take(from state: UnsafeMutablePointer<State>) -> UInt64? {
    state.pointee.lock.withLock {
      if state.pointee.left == 0 {
        guard getentropy(&state.pointee.words, MemoryLayout<InlineArray<32, UInt64>>.size) == 0 else { return nil }
        state.pointee.left = state.pointee.words.count
      }
      state.pointee.left -= 1
      return state.pointee.words[state.pointee.left]
    }
  }
}
