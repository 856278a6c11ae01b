internal import Glibc

/// A point in time as stat(2) gives it.
public struct Timestamp: Sendable, Hashable, Comparable {
  /// Seconds since 1970-01-01 UTC; may be negative.
  public var seconds: Int64
  /// 0 to 999,999,999.
  public var nanoseconds: UInt32

  /// A moment; `nanoseconds` is below 1,000,000,000.
  public init(seconds: Int64, nanoseconds: UInt32 = 0) {
    self.seconds = seconds
    self.nanoseconds = nanoseconds
  }

  /// What a change made now is stamped with.
  ///
  /// It is the clock that the kernel stamps with: programs compare times of the tree with those of other filesystems, and
  /// under a write-back cache the kernel stamps some changes and the tree others. One clock for all keeps "later" later.
  public static var now: Timestamp { KernelClock.shared.now }

  /// Whether `left` is earlier.
  public static func < (left: Timestamp, right: Timestamp) -> Bool {
    (left.seconds, left.nanoseconds) < (right.seconds, right.nanoseconds)
  }
}

/// What a file is: the type bits of `st_mode`.
public enum FileKind: UInt8, Sendable {
  case regular, directory, symbolicLink, fifo, socket, characterDevice, blockDevice

  /// The S_IFMT bits of this kind.
  var typeBits: UInt32 {
    switch self {
    case .regular: S_IFREG
    case .directory: S_IFDIR
    case .symbolicLink: S_IFLNK
    case .fifo: S_IFIFO
    case .socket: S_IFSOCK
    case .characterDevice: S_IFCHR
    case .blockDevice: S_IFBLK
    }
  }

  /// The kind that the S_IFMT bits of `mode` name; no type bits mean a regular file, as for mknod(2).
  init?(mode: UInt32) {
    switch mode & S_IFMT {
    case S_IFREG, 0: self = .regular
    case S_IFDIR: self = .directory
    case S_IFLNK: self = .symbolicLink
    case S_IFIFO: self = .fifo
    case S_IFSOCK: self = .socket
    case S_IFCHR: self = .characterDevice
    case S_IFBLK: self = .blockDevice
    default: return nil
    }
  }
}

/// Mode bits that stat(2) shows besides the type.
enum ModeBits {
  static let all: UInt32 = 0o7777
  static let setUser: UInt32 = 0o4000
  static let setGroup: UInt32 = 0o2000
  static let sticky: UInt32 = 0o1000
  static let groupExecute: UInt32 = 0o0010
}

/// The attributes of one inode at one moment: `struct stat`.
struct Attributes: Sendable {
  var inode: UInt64
  /// Type and permission bits.
  var mode: UInt32
  var linkCount: UInt32
  var user: UInt32
  var group: UInt32
  /// Device number of a device node.
  var device: UInt64
  /// Bytes.
  var size: Int64
  /// Units of 512 bytes.
  var blocks: Int64
  var accessed: Timestamp
  var modified: Timestamp
  var changed: Timestamp
  /// When the inode was made.
  var created: Timestamp
}

/// A time to set: utimensat(2) with UTIME_NOW or a value. UTIME_OMIT is nil.
enum TimeChange: Sendable {
  case now
  case at(Timestamp)
}

/// What setattr changes; nil leaves a field alone.
struct AttributeChanges: Sendable {
  /// Permission bits; type bits are ignored.
  var mode: UInt32?
  var user: UInt32?
  var group: UInt32?
  var size: Int64?
  var accessed: TimeChange?
  var modified: TimeChange?
  /// Only from a kernel that keeps the change time itself (write-back cache).
  var changed: Timestamp?
  /// Takes set-user and set-group bits away.
  var dropsPrivileges = false

  /// Whether there is nothing but a size, as for truncate(2), which may move no time.
  var isResize: Bool {
    size != nil && mode == nil && user == nil && group == nil && accessed == nil && modified == nil && changed == nil
  }
}

/// When reading moves the access time: the mount's `relatime`, `strictatime` or `noatime`.
enum AccessTimes: Sendable {
  /// When it is not after the last change, or a day old.
  case relative
  /// Each time.
  case strict
  case never
}
