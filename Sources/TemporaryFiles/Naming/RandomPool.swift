internal import CSpoolSystem
internal import Glibc
internal import SpoolStorage

/// The system's random source, asked for 32 words at once: asking is a system call, dearer than making a name.
///
/// The words are kept in memory that a forked child finds empty, so it never repeats its parent's.
struct RandomPool: RandomNumberGenerator {
  /// All zero at first, and again in a forked child: the lock is free then, and no words are left.
  private struct Memory: @unchecked Sendable {  // the pointers never change, and what they point to is behind the lock
    let lock: UnsafeMutablePointer<Lock>
    let left: UnsafeMutablePointer<Int>
    let words: UnsafeMutableBufferPointer<UInt64>

    /// 256 bytes: as many as getentropy(3) gives.
    private static let wordCount = 32

    /// nil where the kernel cannot wipe (before 4.14).
    init?() {
      let line = 64
      guard let start = spool_map_wiped_on_fork(line + Self.wordCount * MemoryLayout<UInt64>.stride) else { return nil }
      lock = start.assumingMemoryBound(to: Lock.self)
      left = (start + line / 2).assumingMemoryBound(to: Int.self)
      words = UnsafeMutableBufferPointer(
        start: (start + line).assumingMemoryBound(to: UInt64.self), count: Self.wordCount)
    }

    func take() -> UInt64? {
      lock.pointee.withLock {
        if left.pointee == 0 {
          guard getentropy(words.baseAddress!, words.count * MemoryLayout<UInt64>.stride) == 0 else { return nil }
          left.pointee = words.count
        }
        left.pointee -= 1
        return words[left.pointee]
      }
    }
  }

  private static let memory = Memory()

  mutating func next() -> UInt64 { Self.memory?.take() ?? UInt64.random(in: .min ... .max) }
}
