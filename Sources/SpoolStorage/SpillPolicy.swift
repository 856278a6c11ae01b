internal import Glibc
public import SystemPackage

/// When files leave memory, where they go, and how much there may be of them.
public struct SpoolConfiguration: Sendable {
  /// The size up to which a file stays in memory.
  public enum Threshold: Sendable, Equatable {
    /// The operation that would make the file larger than this many bytes moves it to disk first; a file of exactly
    /// this size stays. 0 is disk from the first byte.
    case bytes(Int64)
    /// Memory only: the file never moves to disk by itself, and gets ENOSPC when the memory budget is used up.
    case unlimited
  }

  /// For files that bring no threshold of their own. nil: 64 MiB, but no more than half the memory budget.
  public var threshold: Threshold?
  /// Bytes of memory that all files of the store share. nil: a quarter of the memory that the process may use, which is
  /// the machine's or a control group's limit. It is less where RLIMIT_AS or RLIMIT_DATA leave less.
  public var memoryBudget: Int64?
  /// nil: the directory in `SPOOLFS_SPILL_DIR`, else /var/tmp, else ~/.cache. A process with more privileges than its user
  /// (set-user-ID and the like) looks at /var/tmp alone.
  public var spillDirectory: FilePath?
  /// Bytes of file data on disk. nil: what the disk holds. 0: nothing is ever spilled, and no directory is needed.
  public var spillCapacity: Int64?
  /// Bytes of file data in memory and on disk together, counted in pages of 4 KiB as tmpfs does for `size=`. nil: no
  /// limit of its own.
  public var sizeLimit: Int64?
  /// Whether what goes to disk is encrypted and authenticated (AES-256-GCM), with a random key that only this process
  /// has, in memory that is never swapped out, and that is overwritten when the store and its files are gone. Somebody
  /// who reads the disk later learns how large the files were and nothing else, and what was changed on disk is never
  /// read: it gives EIO. It protects from nobody who reads this process's memory, nor what the system swaps out of it.
  ///
  /// It takes 24 bytes of memory for each page of 4 KiB on disk, which count as `SpoolStore.Usage.sealBytes` and not
  /// against the memory budget. A forked child cannot use files on disk: it gets ENOKEY. `exposeDescriptor()` gives
  /// EOPNOTSUPP.
  public var encryptsSpill: Bool

  /// Creates a configuration; every argument has the default that its property tells.
  public init(
    threshold: Threshold? = nil, memoryBudget: Int64? = nil, spillDirectory: FilePath? = nil,
    spillCapacity: Int64? = nil, sizeLimit: Int64? = nil, encryptsSpill: Bool = false
  ) {
    self.threshold = threshold
    self.memoryBudget = memoryBudget
    self.spillDirectory = spillDirectory
    self.spillCapacity = spillCapacity
    self.sizeLimit = sizeLimit
    self.encryptsSpill = encryptsSpill
  }

  /// A configuration with the defaults filled in: what a store works with.
  public struct Resolved: Sendable {
    /// For files that bring no threshold of their own.
    public let threshold: Threshold
    /// Bytes of memory that all files of the store share.
    public let memoryBudget: Int64
    /// nil when nothing is ever spilled.
    public let spillDirectory: FilePath?
    /// Bytes of file data on disk; nil when only the disk limits it.
    public let spillCapacity: Int64?
    /// Bytes of file data, in whole pages; nil when there is no limit.
    public let sizeLimit: Int64?
    /// Whether what goes to disk is encrypted.
    public let encryptsSpill: Bool
  }

  /// A limit of the process's own address space may be closer than the machine's memory.
  private var resolvedBudget: Int64 { min(max(0, memoryBudget ?? usableMemory() / 4), AddressSpace.budget) }

  /// Bytes that all files can have together by these settings; nil where only the disk limits them.
  package var dataLimit: Int64? {
    guard let spillCapacity else { return sizeLimit }
    let (both, isTooLarge) = resolvedBudget.addingReportingOverflow(max(0, spillCapacity))
    return min(sizeLimit ?? .max, isTooLarge ? .max : both)
  }

  func resolved(spillDirectory: FilePath?, isEncrypting: Bool) -> Resolved {
    let budget = resolvedBudget
    let standard = spillCapacity == 0 ? Threshold.unlimited : .bytes(min(64 << 20, budget / 2))
    return Resolved(
      threshold: threshold ?? standard, memoryBudget: budget, spillDirectory: spillDirectory,
      spillCapacity: spillCapacity.map { max(0, $0) }, sizeLimit: sizeLimit.map { max(0, $0) },
      encryptsSpill: isEncrypting)
  }

  /// Opens the directory asked for, or the first of the default ones that is usable.
  func openSpillDirectory() throws(Errno) -> SpillDirectory? {
    if spillCapacity == 0 { return nil }
    if let spillDirectory { return try SpillDirectory(spillDirectory) }
    if let named = environmentPath("SPOOLFS_SPILL_DIR") { return try SpillDirectory(named) }
    do throws(Errno) {
      return try SpillDirectory("/var/tmp")
    } catch {
      guard let home = environmentPath("HOME") else { throw error }
      return try SpillDirectory(home.appending(".cache"))
    }
  }
}

extension SpoolConfiguration.Threshold {
  /// The largest size in memory.
  var largestInMemory: Int64 {
    switch self {
    case .bytes(let bytes): max(0, bytes)
    case .unlimited: .max
    }
  }
}
