internal import CSpoolSystem
internal import Glibc
internal import Synchronization
public import SystemPackage

/// What many files share: memory, its budget, the spill directory, the limits, and the thread that moves files to disk
/// when memory gets short.
///
/// It lives as long as it or one of its files is referenced. Each file on disk holds a descriptor: creating a store
/// raises the process's soft limit of descriptors (RLIMIT_NOFILE) to the hard one, which child processes inherit.
public final class SpoolStore: Sendable {
  /// The configuration with all defaults filled in.
  public let configuration: SpoolConfiguration.Resolved
  /// Whether the files of the spill directory are memory themselves (a tmpfs), so that spilling frees none.
  public let spillDirectoryIsMemoryBacked: Bool

  /// Whether it is never freed, as what a static variable holds.
  let isPermanent: Bool
  let spillTarget: SpillTarget
  /// Whether files can go to disk.
  let canSpill: Bool
  /// The threshold of files that bring none.
  let largestInMemory: Int64
  /// What encrypts the files on disk, wherever they are; nil: nothing does.
  let spillKey: SpillKey?
  let pool: ChunkPool
  let spareBuffers = SpareBuffers()
  let candidates = Candidates()
  /// Files with copies of what their disk has not confirmed.
  let unconfirmedFiles = Candidates()
  let refusalObserver = RefusalObserver()
  /// Bytes that files hold in memory.
  let memory: Quota
  /// Pages that files hold, in memory or on disk.
  let data: Quota
  /// Pages that files hold on disk.
  let disk: Quota
  /// What the disk itself can take.
  let freeDisk = FreeDiskEstimate()
  /// Bytes of copies of what was written to disk, until the disk has confirmed it. Files take half of the limit, and the other
  /// half while the disk refuses.
  let unconfirmedBytes: Quota
  let counters = Counters()
  /// Whether somebody above, the kernel for a mount, caches what files on disk hold. Files that move there later do not
  /// have it cached twice.
  let isCachedAbove = Atomic<Bool>(false)
  /// Descriptors of the process's limit that files on disk leave to others; 0: none.
  let reservedDescriptors = Atomic<Int>(0)
  /// Whether it has been told that files found no descriptor.
  let toldOfDescriptors = Atomic<Bool>(false)
  /// Whether `closer` closes the spill files of files that end.
  let defersClosing = Atomic<Bool>(false)
  let closer = DeferredCloser()
  let spiller: Spiller
  /// The spiller's.
  let freedBuffers: SharedNumber
  /// Signalled whenever moving a file to disk ended.
  let moves = EventCount()
  /// Above this, the background thread starts to spill; it stops below `lowWater`. Bytes.
  let highWater: Int64
  let lowWater: Int64

  /// Numbers for status and tests.
  struct Counters: ~Copyable, Sendable {
    let spilledFiles = Atomic<Int>(0)
    let rollovers = Atomic<Int>(0)
    let rolloverBytes = Atomic<Int64>(0)
    let failedRollovers = Atomic<Int>(0)
    /// How many times a disk refused what it had taken before.
    let diskRefusals = Atomic<Int>(0)
    /// Bytes that were refused and stay in memory.
    let refusedBytes = Atomic<Int64>(0)
    /// Files that are being moved to disk at this moment.
    let movesUnderWay = Atomic<Int>(0)
    /// Time as files see it: how many times chunks were taken. Idle time in this unit is how much was written since.
    let clock = Atomic<UInt32>(0)
  }

  /// Opens the spill directory. Threads start when they are first needed.
  ///
  /// - Throws: what opening and using the spill directory gives: ENOENT, ENOTDIR, EACCES, EROFS, ENOSPC and others.
  ///   With a `spillCapacity` of 0 no directory is opened. With `encryptsSpill` also ENOMEM or EPERM, when the process
  ///   may not lock a page of memory (RLIMIT_MEMLOCK).
  public convenience init(_ configuration: SpoolConfiguration = .init()) throws(Errno) {
    try self.init(configuration, directory: try configuration.openSpillDirectory())
  }

  convenience init(_ configuration: SpoolConfiguration, directory: SpillDirectory?) throws(Errno) {
    self.init(
      configuration, spillingTo: directory.map { .directory($0) } ?? .nowhere,
      encryptingWith: configuration.encryptsSpill ? try SpillKey() : nil)
  }

  /// A store that looks for its spill directory only when a file goes there.
  ///
  /// - Parameters:
  ///   - key: whatever the configuration says, only with a key is anything encrypted.
  ///   - isPermanent: whether the caller keeps a reference for ever, so that files need none.
  package init(
    _ configuration: SpoolConfiguration, spillingTo target: SpillTarget, encryptingWith key: SpillKey? = nil,
    isPermanent: Bool = false
  ) {
    let directory: SpillDirectory? = if case .directory(let directory) = target { directory } else { nil }
    let resolved = configuration.resolved(spillDirectory: directory?.path, isEncrypting: key != nil)
    self.configuration = resolved
    spillTarget = target
    self.isPermanent = isPermanent
    canSpill = !target.isNowhere
    largestInMemory = resolved.threshold.largestInMemory
    spillKey = key
    spillDirectoryIsMemoryBacked = directory?.isMemoryBacked ?? false
    memory = Quota(limit: resolved.memoryBudget)
    data = Quota(limit: (resolved.sizeLimit ?? .max) >> Layout.pageShift)
    disk = Quota(limit: target.isNowhere ? 0 : (resolved.spillCapacity ?? .max) >> Layout.pageShift)
    // No less than some of the largest writes of a mount, so that the disk is at one while the next comes.
    unconfirmedBytes = Quota(limit: 2 * max(4 << 20, min(resolved.memoryBudget / 4, 64 << 20)))
    highWater = resolved.memoryBudget / 100 * 80
    lowWater = resolved.memoryBudget / 100 * 65
    pool = ChunkPool(stockLimit: resolved.memoryBudget)
    spiller = Spiller(pool: pool, candidates: candidates, unconfirmedFiles: unconfirmedFiles)
    freedBuffers = spiller.freedBuffers
    DescriptorLimit.raise()
  }

  deinit {
    spiller.end()
    memory.destroy()
    data.destroy()
    disk.destroy()
    unconfirmedBytes.destroy()
    spareBuffers.destroy()
  }

  /// Starts the thread that spills, trims and stocks before it is needed, where it is not to inherit from the one that first
  /// needs it.
  ///
  /// - Returns: whether there is one.
  package func startThread() -> Bool { spiller.prepare() }

  /// What the files of a store use at one moment. Reading it takes no lock.
  public struct Usage: Sendable, Equatable {
    /// Bytes of memory that files hold: whole chunks of 64 KiB, or the exact buffers of small files.
    public var memoryBytes: Int64
    /// Bytes of file data on disk, in pages of 4 KiB.
    public var diskBytes: Int64
    /// Bytes of file data in memory and on disk, in pages of 4 KiB: what `sizeLimit` limits.
    public var dataBytes: Int64
    /// Files that are on disk now.
    public var spilledFiles: Int
    /// How many times a file moved to disk.
    public var rollovers: Int
    /// Bytes copied to disk by moving files there, unfinished and failed moves included.
    public var rolloverBytes: Int64
    /// How many times moving a file to disk failed. Nothing is lost by that.
    public var failedRollovers: Int
    /// How many times the disk refused what it had taken before, in moving files there or later. Nothing is lost by that but
    /// what a write, which then fails, was to replace.
    public var diskRefusals: Int
    /// Bytes that the disk refused, and that stay in memory until it takes them.
    public var refusedBytes: Int64
    /// Bytes of memory for copies of what was written to disk, until the disk has confirmed it; they do not count against the
    /// memory budget.
    public var unconfirmedBytes: Int64
    /// Bytes of address space of the chunk pool.
    public var poolBytes: Int64
    /// Bytes of the pool that no file uses and that go back to the system when idle.
    public var idlePoolBytes: Int64
    /// Bytes of memory for what opens the encrypted pages on disk; they do not count against the memory budget.
    public var sealBytes: Int64
  }

  /// What the files use now.
  ///
  /// - Complexity: O(1).
  public var usage: Usage {
    Usage(
      memoryBytes: memory.used, diskBytes: disk.used << Layout.pageShift, dataBytes: data.used << Layout.pageShift,
      spilledFiles: counters.spilledFiles.load(ordering: .relaxed),
      rollovers: counters.rollovers.load(ordering: .relaxed),
      rolloverBytes: counters.rolloverBytes.load(ordering: .relaxed),
      failedRollovers: counters.failedRollovers.load(ordering: .relaxed),
      diskRefusals: counters.diskRefusals.load(ordering: .relaxed),
      refusedBytes: counters.refusedBytes.load(ordering: .relaxed), unconfirmedBytes: unconfirmedBytes.used,
      poolBytes: pool.mappedBytes, idlePoolBytes: pool.idleBytes,
      sealBytes: spillKey?.sealBytes.load(ordering: .relaxed) ?? 0)
  }

  /// Sets who is told when a disk refuses bytes of a file: by the file's identity, on a thread that holds its locks.
  /// With `reserveDescriptors` also, once, with EMFILE or ENFILE, when a file finds no descriptor to go to disk with.
  package func setRefusalObserver(_ observer: (@Sendable (ObjectIdentifier, Errno) -> Void)?) {
    refusalObserver.set(observer)
  }

  /// Tells whether somebody caches what files hold, as the kernel does for a mount.
  package func setCachedAbove(_ isCached: Bool) { isCachedAbove.store(isCached, ordering: .relaxed) }

  /// Sets whether another thread closes the spill files of files that end, as it should for a mount: there a few threads end
  /// the files of everybody. Where it no longer should, this returns when the disk has all space back.
  package func setDefersClosing(_ defers: Bool) {
    defersClosing.store(defers, ordering: .relaxed)
    if !defers { _ = closer.drain() }
  }

  /// Bytes that can still be written to the spill directory's filesystem, at most a second old; 0 when nothing is ever
  /// spilled. The corresponding C function is `statvfs`.
  public func spillDirectoryFreeBytes() -> Int64 {
    guard let directory = try? spillTarget.open() else { return 0 }
    return directory.freeBytes() + closer.pendingPages << Layout.pageShift
  }
}
