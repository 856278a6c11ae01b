internal import CSpoolSystem
internal import Synchronization
package import SystemPackage

/// Memory of this process beyond what files hold: for threads, tables, and everything whose refusal would end the process.
package enum AddressSpace {
  /// Bytes that files leave to others.
  private static let reserve = 16 << 20

  /// Whether that many bytes more can be mapped, and some are left for others then.
  ///
  /// - Complexity: O(1); some system calls.
  package static func hasRoom(for size: Int) -> Bool {
    let (all, overflows) = size.addingReportingOverflow(reserve)
    return !overflows && size >= 0 && spool_has_room(all) != 0
  }

  /// Whether malloc(3) can have that many bytes more in small pieces, and some are left for others then.
  fileprivate static func heapHasRoom(for size: Int) -> Bool {
    if hasRoom(for: size) { return true }
    // What is mapped already and free counts as well. Nobody tells of strict overcommit.
    let room = Int64(spool_room())
    return max(0, room == .max ? 0 : room) + Int64(spool_free_heap()) >= Int64(size + reserve)
  }

  /// mlockall(2): nothing that this process has is swapped out from now on.
  ///
  /// Locks what is used alone. A limit (RLIMIT_MEMLOCK) counts all that is mapped, and binds who has not CAP_IPC_LOCK.
  ///
  /// - Parameter budget: bytes of memory for files.
  /// - Throws: EPERM or ENOMEM where it is forbidden or the limit is less than what is needed.
  package static func lock(budget: Int64) throws(Errno) {
    let isLimited = lockLimit != .max && !mayLockMemory
    if isLimited, lockLimit < lockedSize(budget: budget) { throw .noMemory }
    if spool_lock_all_memory(isLimited ? 1 : 0) != 0 { throw currentErrno() }
  }

  /// Bytes that RLIMIT_MEMLOCK allows; `.max` without a limit.
  package static var lockLimit: Int64 { Int64(spool_memory_lock_limit()) }

  /// Bytes that a process needs to lock whose files may have `budget`: what it has mapped so far, and stacks and tables.
  package static func lockedSize(budget: Int64) -> Int64 {
    let pages = contentsOfSystemFile("/proc/self/statm")?.split(separator: " ").first.flatMap { Int64($0) } ?? 0
    // What is on its way to disk is in memory as well.
    let (files, overflows) = budget.addingReportingOverflow(budget / 2)
    return overflows ? .max : pages * Int64(Layout.page) + min(files, .max - 1 << 40) + lockedReserve
  }

  private static let lockedReserve: Int64 = 512 << 20

  /// Whether this process has CAP_IPC_LOCK.
  private static var mayLockMemory: Bool {
    let line = contentsOfSystemFile("/proc/self/status")?.split(separator: "\n").first { $0.hasPrefix("CapEff:") }
    let set = line.flatMap { UInt64($0.dropFirst("CapEff:".count).drop { $0 == "\t" || $0 == " " }, radix: 16) } ?? 0
    return set & 1 << 14 != 0
  }

  /// Bytes that files may have of what RLIMIT_AS and RLIMIT_DATA leave now. As much again as the reserve stays for what files
  /// take besides.
  static var budget: Int64 {
    let room = Int64(spool_room())
    return room < 0 || room == .max ? .max : max(0, room - Int64(2 * reserve))
  }
}

/// Sees to it that what cannot be refused finds memory: names, inodes, tables. Each few hundred of them, somebody looks.
package final class Headroom: Sendable {
  /// Of so many objects one is looked at; a power of two.
  private static let interval: UInt64 = 256
  /// Bytes that these take at most, without the data of files.
  private static let size = 1 << 20

  private let isShort = Atomic<Bool>(false)

  package init() {}

  /// To be called before an object is made.
  ///
  /// - Parameter number: counts the objects.
  /// - Throws: ENOSPC where memory is short.
  @inline(__always)
  package func take(_ number: UInt64) throws(Errno) {
    if number & (Self.interval - 1) == 0 || isShort.load(ordering: .relaxed) { try look(for: Self.size) }
  }

  /// - Throws: ENOSPC where there is no room for that many bytes.
  @inline(never)
  package func look(for size: Int = size) throws(Errno) {
    let hasRoom = AddressSpace.heapHasRoom(for: size)
    isShort.store(!hasRoom, ordering: .relaxed)
    if !hasRoom { throw .noSpace }
  }
}
