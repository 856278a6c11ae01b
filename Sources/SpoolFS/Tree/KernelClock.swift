internal import CSpoolSystem
internal import Glibc
import SpoolStorage
internal import Synchronization
internal import SystemPackage

/// The clock that the kernel stamps files with.
///
/// Before Linux 6.13 that is the coarse clock. Since then a file of ext4, XFS, Btrfs or tmpfs whose times somebody has seen
/// gets a fine stamp at its next change, and nothing is stamped earlier than that from then on: the kernel stamps with the
/// coarse clock or the latest fine stamp (its "floor"), whichever is later. No clock shows that one. So a memory file of our
/// own, which nobody looks at, is stamped, and the stamp taken from there: it is neither earlier than what the kernel has
/// stamped before nor later than what it stamps next, and the floor stays where it is.
///
/// Two system calls for a stamp are worth it only where others see it beside the kernel's: in a process that has mounted a
/// tree.
final class KernelClock: @unchecked Sendable {
  // @unchecked: `count` and `isRead` are written before `files`, which publishes them.

  /// The clock of this process.
  static let shared = KernelClock()

  /// A file to stamp, for one thread at a time: what it reads must be its own stamp. As long as a cache line, except in
  /// debug builds.
  private struct StampFile: ~Copyable {
    let lock = Lock()
    let descriptor: Int32
    private let padding: (UInt64, UInt64, UInt64, UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0, 0, 0, 0)

    init(_ descriptor: Int32) { self.descriptor = descriptor }
  }

  private static let cacheLine = 64
  /// One for each processor is enough that nobody waits.
  private static let maximumFiles = 16

  private let starting = Lock()
  private var isDecided = false
  /// Nil as long as the coarse clock serves.
  private let files = Atomic<UnsafeMutableRawPointer?>(nil)
  private var count = 0
  /// Whether a read moves the access time of the files; otherwise it has to be set.
  private var isRead = true

  /// The moment that a change made now is stamped with.
  var now: Timestamp {
    guard let files = files.load(ordering: .acquiring) else { return Self.coarse }
    return stamp(files.assumingMemoryBound(to: StampFile.self))
  }

  /// The coarse clock: at most a tick, and so some milliseconds, behind.
  static var coarse: Timestamp {
    var time = timespec()
    clock_gettime(CLOCK_REALTIME_COARSE, &time)
    return Timestamp(time)
  }

  private func stamp(_ files: UnsafeMutablePointer<StampFile>) -> Timestamp {
    let first = Int(max(0, spool_current_processor()))
    for number in first..<(first + count) {
      let file = files + number % count
      if file.pointee.lock.tryLock() {
        defer { file.pointee.lock.unlock() }
        return stampLocked(file.pointee.descriptor)
      }
    }
    let file = files + first % count
    return file.pointee.lock.withLock { stampLocked(file.pointee.descriptor) }
  }

  private func stampLocked(_ file: Int32) -> Timestamp {
    var time = timespec()
    let result = isRead ? spool_stamp_by_reading(file, &time) : spool_stamp_by_touching(file, &time)
    return result == 0 ? Timestamp(time) : Self.coarse
  }

  // MARK: - Following the kernel

  /// From now on stamps are the kernel's. Once and for all: a tree's times must not go back when it is unmounted.
  ///
  /// - Throws: EMFILE, ENFILE, ENOMEM.
  func followKernel() throws(Errno) {
    try starting.withLock { () throws(Errno) in
      if isDecided { return }
      // Not one of those that are stamped later: its change time is seen.
      let probe = spool_stamp_file()
      let first = spool_stamp_file()
      let error = currentErrno()
      defer { close(probe) }
      if first < 0 {
        // Otherwise it is forbidden: there is nothing better than the coarse clock then.
        if [.tooManyOpenFiles, .tooManyOpenFilesInSystem, .noMemory].contains(error) { throw error }
      } else if Self.hasFineStamps(probe) {
        start(with: first)
      } else {
        close(first)
      }
      isDecided = true
    }
  }

  private func start(with first: Int32) {
    isRead = Self.readMovesAccessTime(first)
    let wanted = min(max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN))), Self.maximumFiles)
    let memory = UnsafeMutableRawPointer.allocate(
      byteCount: wanted * MemoryLayout<StampFile>.stride, alignment: Self.cacheLine)
    let files = memory.bindMemory(to: StampFile.self, capacity: wanted)
    files.initialize(to: StampFile(first))
    count = 1
    while count < wanted {
      let next = spool_stamp_file()
      // Fewer do.
      if next < 0 { break }
      (files + count).initialize(to: StampFile(next))
      count += 1
    }
    self.files.store(memory, ordering: .releasing)
  }

  /// Whether the kernel has fine stamps, found out by having it stamp twice what was looked at in between.
  ///
  /// Where it does not tell, they are assumed: then stamps are right as well, and only cost more.
  private static func hasFineStamps(_ file: Int32) -> Bool {
    for _ in 0..<100 {
      let start = coarse
      var time = timespec()
      guard spool_stamp_finely(file, &time) == 0, spool_stamp_finely(file, &time) == 0 else { return true }
      let end = coarse
      if Timestamp(time) > end { return true }
      // Within one tick a fine stamp is later than the coarse clock.
      if start == end { return false }
    }
    return true
  }

  /// Whether a read moves the access time of a memory file each time: no mount has relatime or noatime there, so far.
  private static func readMovesAccessTime(_ file: Int32) -> Bool {
    var future = timespec()
    clock_gettime(CLOCK_REALTIME, &future)
    future.tv_sec += 3600
    var time = timespec()
    guard spool_set_access_time(file, future) == 0, spool_stamp_by_reading(file, &time) == 0 else { return false }
    return Timestamp(time) < Timestamp(future)
  }
}

extension Timestamp {
  fileprivate init(_ time: timespec) {
    self.init(seconds: Int64(time.tv_sec), nanoseconds: UInt32(truncatingIfNeeded: time.tv_nsec))
  }
}
