// The tree: what tmpfs does, in memory and on disk, with or without a mount.
//
// Lock order, outermost first. Nobody takes a lock of an earlier row while holding one of a later row.
//
//   renameLock                    renames between two directories; the shape of the directory tree stands still under it
//     Inode.lock, directories     an ancestor before its descendants; two that are unrelated only under `renameLock`,
//                                 by id (`lockPair` is the one place that locks two parents)
//       Inode.lock, one other     the object an entry names; never two of them
//         InodeTable shards, FileContent, CommandNames, InodeQuota
//
// No lock of the tree is held while data is copied, while a disk is waited for, or while the kernel is told of a change.
// An inode that may end is handed out of the locked region first, since giving back its memory takes other locks.

internal import Glibc
public import SpoolStorage
import Synchronization
public import SystemPackage

/// A private, throw-away filesystem in this process: files in memory until they outgrow a threshold, then on disk.
///
/// Use it directly (`open`, `write(_:to:)`, `contents(of:)`, `createDirectory(at:)`, …), or put a mount on it with
/// `mount(at:)` where other programs must see it. Everything in it ends with the last reference to it.
///
/// It is safe to use from many threads; operations in different directories and on different files do not wait for each
/// other.
public final class FileSystem: Sendable {
  /// How a tree is made.
  public struct Configuration: Sendable {
    /// Threshold, memory budget, spill directory and limits of the files' bytes.
    public var storage: SpoolConfiguration
    /// The largest number of inodes (tmpfs's `nr_inodes`). nil: one for each two pages of RAM, as tmpfs has it; 0: no
    /// limit.
    public var inodeLimit: Int?
    /// Permission bits of the root directory.
    public var rootMode: FilePermissions
    /// Owner of the root directory; nil: this process's effective user.
    public var rootUser: UInt32?
    /// Group of the root directory; nil: this process's effective group.
    public var rootGroup: UInt32?
    /// Whether xattr(7) works. Off by default: with it the kernel asks for `security.capability` at each file's first
    /// write.
    public var extendedAttributes: Bool
    /// When a regular file ends.
    public var lifetime: Lifetime

    /// A configuration; the defaults are those of the command.
    public init(
      storage: SpoolConfiguration = .init(), inodeLimit: Int? = nil,
      rootMode: FilePermissions = [.ownerReadWriteExecute], rootUser: UInt32? = nil, rootGroup: UInt32? = nil,
      extendedAttributes: Bool = false, lifetime: Lifetime = .unmount
    ) {
      self.storage = storage
      self.inodeLimit = inodeLimit
      self.rootMode = rootMode
      self.rootUser = rootUser
      self.rootGroup = rootGroup
      self.extendedAttributes = extendedAttributes
      self.lifetime = lifetime
    }
  }

  /// When a regular file ends.
  public enum Lifetime: String, Sendable, CaseIterable {
    /// When it is removed, or the filesystem ends.
    case unmount
    /// When its last descriptor is closed, as Python's `NamedTemporaryFile` has it.
    case close
  }

  /// How this tree was made.
  public let configuration: Configuration

  /// Memory, disk and the budget of all files.
  let store: SpoolStore
  let root: Inode
  let table = InodeTable()
  let quota: InodeQuota
  let headroom = Headroom()
  let commands = CommandNames()
  /// The hidden directory with the status files, reached by name only.
  let statusDirectory: Inode

  let renameLock = Lock()
  private let nextID = Atomic<UInt64>(firstFreeID)
  private let hooks = MountHooks()

  /// A new, empty tree.
  ///
  /// - Throws: what makes the spill directory unusable (ENOENT, EACCES, ENOTDIR, …).
  public init(_ configuration: Configuration = .init()) throws(Errno) {
    self.configuration = configuration
    store = try SpoolStore(configuration.storage)
    let limit = configuration.inodeLimit ?? Self.defaultInodeLimit
    quota = InodeQuota(limit: limit == 0 ? nil : limit)
    let caller = Caller.current()
    try quota.reserve()
    root = Inode(
      id: Self.rootID, kind: .directory, mode: UInt32(configuration.rootMode.rawValue),
      user: configuration.rootUser ?? caller.user, group: configuration.rootGroup ?? caller.group,
      payload: .directory(Directory()), creator: .unknown, quota: quota)
    statusDirectory = Inode(
      id: Self.statusDirectoryID, kind: .directory, mode: 0o500, user: root.user, group: root.group,
      payload: .directory(Directory()), creator: .unknown, quota: quota, isCounted: false)
    statusDirectory.parent = root
    table.remember(root)
    table.remember(statusDirectory)
  }

  deinit {
    // Directories hold their children: taken apart level by level, so that a deep tree does not end in a deep recursion.
    var directories = [root]
    while let inode = directories.popLast() {
      guard case .directory(let directory) = inode.payload else { continue }
      directories += directory.removeAll().lazy.map(\.inode).filter { $0.kind == .directory }
    }
    table.removeAll()
  }

  /// FUSE's number for the root (FUSE_ROOT_ID).
  static let rootID: UInt64 = 1
  static let statusDirectoryID: UInt64 = 2
  /// `st_ino` of the status files, whichever inode they are.
  static let statsNumber: UInt64 = 3
  static let filesNumber: UInt64 = 4
  private static let firstFreeID: UInt64 = 5

  /// tmpfs's default: half as many inodes as there are pages of RAM.
  private static var defaultInodeLimit: Int {
    let pages = sysconf(Int32(_SC_PHYS_PAGES))
    return pages > 0 ? pages / 2 : 1 << 20
  }

  // MARK: - Inodes

  /// An inode that the kernel knows.
  func inode(_ id: UInt64) -> Inode? { table.find(id) }

  /// Counts one lookup: before the reply that carries the inode is sent.
  func remember(_ inode: Inode) { table.remember(inode) }

  func forget(_ id: UInt64, _ lookups: UInt64) {
    // The root and the status directory stay known whatever the kernel forgets.
    if id > Self.statusDirectoryID { table.forget(id, lookups) }
  }

  /// What a new inode takes from where and by whom it is made.
  struct Birthplace {
    let group: UInt32
    let mode: UInt32
    let creator: Creator
    let time: Timestamp
  }

  /// Runs `body`, which writes to `inode` or makes one, again while it finds no space and other files may be about to give
  /// some back.
  ///
  /// A file without a name ends when the kernel has forgotten it, shortly after unlink(2) or the last close(2) has returned;
  /// tmpfs frees it at once. So who gives up one file to make room for another must not be told that there is none.
  func waitingForReclaim<Result>(
    for inode: Inode? = nil, _ body: () throws(Errno) -> Result
  ) throws(Errno) -> Result {
    var deadline: Int?
    while true {
      // Looked at first: what ends before `body` runs is found by it.
      let orphans = quota.orphanCount
      do throws(Errno) { return try body() } catch .noSpace {
        let isOrphan = inode.map { inode in inode.lock.withLock { inode.isOrphan } } ?? false
        if orphans <= (isOrphan ? 1 : 0), configuration.lifetime != .close { throw .noSpace }
        let now = coarseNanoseconds()
        if let deadline, now >= deadline { throw .noSpace }
        deadline = deadline ?? quota.reclaimDeadline(at: now)
        usleep(1000)
      }
    }
  }

  /// A new inode, in no directory yet.
  ///
  /// - Throws: ENOSPC at the inode limit, or where memory is short.
  func makeInode(
    _ kind: FileKind, mode: UInt32, in parent: Birthplace, payload: Inode.Payload, by caller: Caller
  ) throws(Errno) -> Inode {
    let id = nextID.wrappingAdd(1, ordering: .relaxed).oldValue
    try headroom.take(id)
    try quota.reserve()
    var mode = mode
    var group = caller.group
    if parent.mode & ModeBits.setGroup != 0 {
      // A setgid directory hands its group down, and to directories the bit itself.
      group = parent.group
      if kind == .directory { mode |= ModeBits.setGroup }
      let executable = mode & (ModeBits.setGroup | ModeBits.groupExecute) == ModeBits.setGroup | ModeBits.groupExecute
      if kind != .directory, executable, !caller.passesChecks, !caller.isMember(of: group) {
        mode &= ~ModeBits.setGroup
      }
    }
    return Inode(
      id: id, kind: kind, mode: mode, user: caller.user, group: group,
      payload: payload, creator: parent.creator, quota: quota, at: parent.time)
  }

  /// A status file with these contents. It costs no inode of the quota and is in no directory.
  ///
  /// - Parameter number: its `st_ino`, the same each time: programs like cp(1) compare what they have looked up with what they
  ///   have opened.
  func makeSnapshot(_ bytes: [UInt8], number: UInt64) -> Inode {
    Inode(
      id: nextID.wrappingAdd(1, ordering: .relaxed).oldValue, number: number, kind: .regular, mode: 0o400,
      user: root.user, group: root.group, payload: .snapshot(bytes), creator: .unknown, quota: quota, isCounted: false)
  }

  // MARK: - Observer

  /// Sets who is told of changes made in this process; a mount does this.
  func setObserver(_ observer: (any ChangeObserver)?) { hooks.set(observer) }

  /// The observer, where `caller`'s change is news to the kernel.
  func observer(for caller: Caller) -> (any ChangeObserver)? { caller.isKernel ? nil : hooks.observer }

  /// Sets what a mount adds to the status file.
  func setMountStatistics(_ statistics: (@Sendable () -> JSONObject)?) { hooks.set(statistics) }

  func mountStatistics() -> JSONObject? { hooks.statistics?() }
}

/// Told of changes that did not come through the mount. Called with no lock of the tree held.
protocol ChangeObserver: AnyObject, Sendable {
  /// An entry appeared, disappeared, or names another inode.
  func entryChanged(_ name: UnsafeRawBufferPointer, in directory: UInt64)
  /// Mode, owner, size, times or link count changed.
  func attributesChanged(of inode: UInt64)
  /// Bytes changed; `count` 0 means up to the end.
  func contentsChanged(of inode: UInt64, at offset: Int64, count: Int64)
}

/// What a mount leaves with its tree.
private final class MountHooks: @unchecked Sendable {
  // @unchecked: `lock` protects the variables.
  private let lock = Lock()
  private var currentObserver: (any ChangeObserver)?
  private var currentStatistics: (@Sendable () -> JSONObject)?

  var observer: (any ChangeObserver)? { lock.withLock { currentObserver } }
  var statistics: (@Sendable () -> JSONObject)? { lock.withLock { currentStatistics } }

  func set(_ observer: (any ChangeObserver)?) { lock.withLock { currentObserver = observer } }
  func set(_ statistics: (@Sendable () -> JSONObject)?) { lock.withLock { currentStatistics = statistics } }
}

extension FileSystem {
  func announceEntry(_ name: UnsafeRawBufferPointer, in directory: Inode, by caller: Caller) {
    guard let observer = observer(for: caller) else { return }
    observer.entryChanged(name, in: directory.id)
    observer.contentsChanged(of: directory.id, at: 0, count: 0)
  }

  func announceAttributes(of inode: Inode, by caller: Caller) {
    observer(for: caller)?.attributesChanged(of: inode.id)
  }

  func announceContents(of inode: Inode, at offset: Int64, count: Int64, by caller: Caller) {
    observer(for: caller)?.contentsChanged(of: inode.id, at: offset, count: count)
  }
}
