import SpoolStorage
internal import Synchronization
internal import SystemPackage

/// The inodes that the kernel knows by number: those with a lookup count above zero.
final class InodeTable: Sendable {
  private final class Shard: @unchecked Sendable {
    // @unchecked: `inodes`, and the lookup counts of the inodes in it, are protected by `lock`.
    let lock = Lock()
    @exclusivity(unchecked) var inodes = InodeMap()
  }

  /// Enough that two cores seldom meet; a table that grows stops only one of them.
  private static let shardCount = 64
  private let shards = (0..<shardCount).map { _ in Shard() }

  private func shard(_ id: UInt64) -> Shard { shards[Int(id % UInt64(Self.shardCount))] }

  /// - Complexity: O(1).
  func find(_ id: UInt64) -> Inode? {
    let shard = shard(id)
    return shard.lock.withLock { shard.inodes.find(id) }
  }

  /// Counts one more lookup by the kernel.
  func remember(_ inode: Inode) {
    let shard = shard(inode.id)
    shard.lock.withLock {
      inode.lookupCount += 1
      if inode.lookupCount == 1 { shard.inodes.insert(inode) }
    }
  }

  /// Takes `lookups` back; at zero the kernel does not know the inode any more.
  func forget(_ id: UInt64, _ lookups: UInt64) {
    let shard = shard(id)
    // Returned, so that an inode that ends here ends with the lock open.
    let forgotten: Inode? = shard.lock.withLock {
      guard let inode = shard.inodes.find(id) else { return nil }
      inode.lookupCount -= min(lookups, inode.lookupCount)
      return inode.lookupCount == 0 ? shard.inodes.remove(id) : nil
    }
    withExtendedLifetime(forgotten) {}
  }

  /// How many lookups the kernel has not given back.
  func lookups(of inode: Inode) -> UInt64 {
    let shard = shard(inode.id)
    return shard.lock.withLock { inode.lookupCount }
  }

  var count: Int {
    shards.reduce(0) { sum, shard in sum + shard.lock.withLock { shard.inodes.count } }
  }

  /// The numbers of the regular files at one moment.
  ///
  /// - Complexity: O(inodes).
  func regularFiles() -> [UInt64] {
    shards.flatMap { shard in shard.lock.withLock { shard.inodes.numbers { $0.kind == .regular && !$0.isSnapshot } } }
  }

  /// Forgets all, when a mount has ended.
  func removeAll() {
    for shard in shards {
      let inodes = shard.lock.withLock {
        let inodes = shard.inodes.removeAll()
        for inode in inodes { inode.lookupCount = 0 }
        return inodes
      }
      withExtendedLifetime(inodes) {}
    }
  }
}

/// How many inodes there are and may be: tmpfs's `nr_inodes`.
final class InodeQuota: Sendable {
  /// nil: no limit.
  let limit: Int?
  private let used = Atomic<Int>(0)

  init(limit: Int?) { self.limit = limit }

  var count: Int { used.load(ordering: .relaxed) }

  /// Inodes without a name that are still there.
  private let orphans = Atomic<Int>(0)
  var orphanCount: Int { orphans.load(ordering: .acquiring) }
  private let lastNameRemoved = Atomic<Int>(0)
  /// Nanoseconds until a file whose last name was removed is taken to be in use.
  private static let removalTime = 500_000_000
  /// Nanoseconds in which the kernel forgets a file without a name after its last close(2), of which nobody tells.
  private static let closeTime = 50_000_000

  /// Until when an inode without a name may end that nobody uses any more at `now`.
  func reclaimDeadline(at now: Int) -> Int {
    max(lastNameRemoved.load(ordering: .relaxed) + Self.removalTime, now + Self.closeTime)
  }

  func nameRemoved() { lastNameRemoved.store(coarseNanoseconds(), ordering: .relaxed) }
  func orphanStarted() { orphans.add(1, ordering: .releasing) }
  func orphanEnded() { orphans.subtract(1, ordering: .releasing) }

  /// - Throws: ENOSPC at the limit.
  func reserve() throws(Errno) {
    var count = used.load(ordering: .relaxed)
    while true {
      if let limit, count >= limit { throw .noSpace }
      let (exchanged, seen) = used.weakCompareExchange(expected: count, desired: count + 1, ordering: .relaxed)
      if exchanged { return }
      count = seen
    }
  }

  func release() { used.subtract(1, ordering: .relaxed) }
}
