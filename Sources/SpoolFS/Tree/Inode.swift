import SpoolStorage
internal import SystemPackage

/// A file, directory or other object of the tree, whatever its names.
///
/// An inode lives as long as something refers to it: a directory entry, the table of inodes the kernel knows, or an open
/// handle. Its space is free when the last of these goes. Node ids are never used again.
final class Inode: @unchecked Sendable {
  // @unchecked: `lock` protects every variable, except where one says otherwise.
  //
  // Exclusivity is unchecked where the locks see to it: each check calls the runtime, and a request makes dozens of them.

  enum Payload {
    /// nil until the first byte: most empty files stay empty.
    case regular(FileContent?)
    case directory(Directory)
    case symbolicLink(FileName)
    case special(device: UInt64)
    /// A status file: complete when it was made, never changed.
    case snapshot([UInt8])
  }

  /// A name of a regular file, kept only where the file vanishes with its last descriptor.
  struct NameReference {
    weak var directory: Inode?
    let name: FileName
  }

  /// What the kernel knows it by.
  let id: UInt64
  /// `st_ino`: the id, but for a status file, of which each lookup makes a new inode.
  let number: UInt64
  let kind: FileKind
  let isSnapshot: Bool
  /// Whether it counts against the inode limit.
  private let isCounted: Bool
  private let quota: InodeQuota

  let lock = Lock()
  /// Permission bits, no type.
  @exclusivity(unchecked) var mode: UInt32
  @exclusivity(unchecked) var user: UInt32
  @exclusivity(unchecked) var group: UInt32
  @exclusivity(unchecked) var linkCount: UInt32
  @exclusivity(unchecked) var accessed: Timestamp
  @exclusivity(unchecked) var modified: Timestamp
  @exclusivity(unchecked) var changed: Timestamp
  /// Never changed.
  let created: Timestamp
  @exclusivity(unchecked) var payload: Payload
  @exclusivity(unchecked) var extendedAttributes: ExtendedAttributes?
  @exclusivity(unchecked) var openCount: UInt32 = 0
  /// Made with O_TMPFILE, so that link(2) may give it a first name.
  @exclusivity(unchecked) var isLinkable = false
  /// Whether the kernel has said that somebody who is not the owner is about to change it so that set-user and set-group
  /// bits go.
  @exclusivity(unchecked) var isLosingPrivileges = false
  /// Whether it has no name, so that it ends with its last user.
  @exclusivity(unchecked) private(set) var isOrphan = false
  @exclusivity(unchecked) var names: [NameReference] = []
  /// Bytes that are lost; nil where none are.
  @exclusivity(unchecked) var refusals: Refusals?

  /// Who made it; 0 where unknown. Never changed.
  let creator: Creator

  /// How often the kernel was told of this inode. Protected by the shard of the inode table.
  @exclusivity(unchecked) var lookupCount: UInt64 = 0

  /// The directory this directory lies in; kept after its removal. Read with the rename lock or `lock` held, written with
  /// both.
  ///
  /// Parent and child hold each other until the entry goes, at the latest with the tree. Not weak: a weak reference makes
  /// every retain of what it points to a slow one.
  @exclusivity(unchecked) var parent: Inode?

  init(
    id: UInt64, number: UInt64? = nil, kind: FileKind, mode: UInt32, user: UInt32, group: UInt32, payload: Payload,
    creator: Creator, quota: InodeQuota, isCounted: Bool = true, at now: Timestamp = .now
  ) {
    self.id = id
    self.number = number ?? id
    self.isCounted = isCounted
    self.kind = kind
    self.mode = mode & ModeBits.all
    self.user = user
    self.group = group
    self.linkCount = kind == .directory ? 2 : 1
    self.accessed = now
    self.modified = now
    self.changed = now
    self.created = now
    self.payload = payload
    self.creator = creator
    self.quota = quota
    if case .snapshot = payload { isSnapshot = true } else { isSnapshot = false }
  }

  deinit {
    releaseParents()
    if !isCounted { return }
    // The space first: who waits for it looks at the number of inodes or, last of all, of orphans.
    payload = .special(device: 0)
    quota.release()
    if isOrphan { quota.orphanEnded() }
  }

  /// Releases removed directories that only this one has held, one by one: a long chain of them must not end in a deep
  /// recursion.
  private func releaseParents() {
    var next = parent
    parent = nil
    while isKnownUniquelyReferenced(&next), let last = next {
      next = last.parent
      last.parent = nil
    }
  }

  /// Notes that it has no name, so that the space comes back when the last user goes.
  ///
  /// Preconditions: `lock` is held.
  func becomeOrphanLocked() {
    if isOrphan { return }
    isOrphan = true
    quota.orphanStarted()
  }

  /// Notes that link(2) gives it a name.
  ///
  /// Preconditions: `lock` is held.
  func endOrphanLocked() {
    if !isOrphan { return }
    isOrphan = false
    quota.orphanEnded()
  }

  // MARK: - With `lock` held

  /// Preconditions: `lock` is held.
  ///
  /// - Throws: ENOTDIR.
  func directoryLocked() throws(Errno) -> Directory {
    guard case .directory(let directory) = payload else { throw .notDirectory }
    return directory
  }

  /// tmpfs's rules: 20 bytes for each entry, "." and ".." included; the length of a link's target.
  private static let bytesPerEntry: Int64 = 20
  /// tmpfs keeps targets up to this length in the inode, longer ones in a page.
  private static let inlineTargetLength = 127

  func attributesLocked() -> Attributes {
    var attributes = Attributes(
      inode: number, mode: mode | kind.typeBits, linkCount: linkCount, user: user, group: group, device: 0, size: 0,
      blocks: 0, accessed: accessed, modified: modified, changed: changed, created: created)
    switch payload {
    case .regular(let content):
      attributes.size = content?.size ?? 0
      attributes.blocks = (content?.allocatedBytes ?? 0) / 512
    case .directory(let directory):
      attributes.size = Int64(directory.count + 2) * Self.bytesPerEntry
    case .symbolicLink(let target):
      attributes.size = Int64(target.header)
      attributes.blocks = target.header > Self.inlineTargetLength ? 8 : 0
    case .special(let device):
      attributes.device = device
    case .snapshot(let bytes):
      attributes.size = Int64(bytes.count)
      attributes.blocks = (attributes.size + 4095) / 4096 * 8
    }
    return attributes
  }

  /// Whether it has set-group without group execute.
  ///
  /// Preconditions: `lock` is held.
  var hasLockingBitLocked: Bool { mode & (ModeBits.setGroup | ModeBits.groupExecute) == ModeBits.setGroup }

  /// What the kernel does to a file that somebody without CAP_FSETID writes to, or that is given away.
  ///
  /// Set-group without group execute once meant mandatory locking; only somebody outside the group takes it away.
  func dropPrivilegeBitsLocked(by caller: Caller) { mode = modeWithoutPrivilegesLocked(by: caller) }

  /// The permission bits that `dropPrivilegeBitsLocked` leaves.
  func modeWithoutPrivilegesLocked(by caller: Caller) -> UInt32 {
    if kind == .directory { return mode }
    let left = mode & ~ModeBits.setUser
    let losesGroup = mode & ModeBits.groupExecute != 0 || caller.isOutside(group)
    return losesGroup ? left & ~ModeBits.setGroup : left
  }

  /// Marks the contents, and so the inode, as changed now.
  func touchLocked(_ now: Timestamp = .now) {
    modified = now
    changed = now
  }

  /// Moves the access time, by default as relatime does, with which tmpfs is mounted by default.
  func markAccessedLocked(_ accessTimes: AccessTimes = .relative) {
    switch accessTimes {
    case .never: return
    case .strict: break
    case .relative: if accessed > modified, accessed > changed, !wasAccessedDaysAgo { return }
    }
    accessed = .now
  }

  private var wasAccessedDaysAgo: Bool {
    let day: Int64 = 24 * 60 * 60
    return KernelClock.coarse.seconds &- accessed.seconds >= day
  }

  /// Whether the kernel stamps the contents' changes by `caller` itself, and sends the times when it thinks fit.
  func isStampedByKernel(for caller: Caller) -> Bool { caller.stampsFiles && kind == .regular }
}
