public import SystemPackage

/// The attributes of a file at one moment. The corresponding C structure is `stat`.
public struct FileMetadata: Sendable, Equatable {
  /// Number of the inode (`st_ino`); never used twice in one tree.
  public let inode: UInt64
  /// What it is.
  public let kind: FileKind
  /// Permission bits, set-user, set-group and sticky bits included.
  public let permissions: FilePermissions
  /// Number of names.
  public let linkCount: Int
  /// Owner.
  public let user: UInt32
  /// Group.
  public let group: UInt32
  /// Number of a device node (`st_rdev`), 0 otherwise.
  public let device: UInt64
  /// Length in bytes.
  public let size: Int64
  /// Bytes that hold data, in memory or on disk; holes are not counted (`st_blocks` × 512).
  public let allocatedSize: Int64
  /// Last access, moved as `relatime` does.
  public let accessed: Timestamp
  /// Last change of the contents.
  public let modified: Timestamp
  /// Last change of contents or attributes.
  public let changed: Timestamp
  /// When it was made (`stx_btime`); nothing moves it.
  public let created: Timestamp

  init(_ attributes: Attributes, kind: FileKind) {
    inode = attributes.inode
    self.kind = kind
    permissions = FilePermissions(rawValue: CModeT(attributes.mode & ModeBits.all))
    linkCount = Int(attributes.linkCount)
    user = attributes.user
    group = attributes.group
    device = attributes.device
    size = attributes.size
    allocatedSize = attributes.blocks * 512
    accessed = attributes.accessed
    modified = attributes.modified
    changed = attributes.changed
    created = attributes.created
  }
}

/// One entry of a directory. The corresponding C structure is `dirent`.
public struct DirectoryEntry: Sendable, Equatable {
  /// The name; bytes, which need not be UTF-8.
  public let name: FilePath.Component
  /// What it names.
  public let kind: FileKind
  /// Number of the inode.
  public let inode: UInt64
}

/// Space and inodes of a tree. The corresponding C structure is `statvfs`.
public struct FileSystemUsage: Sendable, Equatable {
  /// Bytes that can be held in all: the size limit, or the memory budget and what the disk can take.
  public let capacity: Int64
  /// Bytes of that which are free.
  public let free: Int64
  /// Bytes of files in memory.
  public let memory: Int64
  /// Bytes of files on disk.
  public let disk: Int64
  /// Number of inodes in use.
  public let inodes: Int
}
