/// How a tree is mounted.
public struct MountOptions: Sendable {
  /// What the kernel may keep of the files' data.
  public enum Cache: String, Sendable, CaseIterable {
    /// Reads and writes: small writes are gathered and come later, which makes appending many times faster. The kernel
    /// then owns size and times of the files that it knows. Changes made through the mount are seen in process only
    /// after the kernel has written them back (fsync(2), close(2), or by itself), and sizes changed in process are not
    /// seen through the mount.
    case writeback
    /// Reads. Each write(2) reaches the tree before it returns. Writes to a shared mapping reach it with msync(2) or
    /// munmap(2), as the memory of a mapping belongs to the kernel.
    case writethrough
    /// Nothing: every read(2) and write(2) is a request. Mapping a file still works; shared mappings need kernel 6.6.
    case none
  }

  /// How requests reach this process.
  public enum Transport: String, Sendable, CaseIterable {
    /// `ring` where the kernel offers it, else `device`.
    case auto
    /// FUSE over io_uring: Linux 6.14, with /sys/module/fuse/parameters/enable_uring switched on.
    case ring
    /// read(2) and write(2) on /dev/fuse.
    case device
  }

  /// Flags of mount(2) that make sense here.
  public struct Flags: OptionSet, Sendable {
    /// The MS_ bits.
    public let rawValue: UInt

    /// Flags by their MS_ bits.
    public init(rawValue: UInt) { self.rawValue = rawValue }

    /// MS_RDONLY.
    public static let readOnly = Flags(rawValue: 1)
    /// MS_NOSUID: set-user and set-group bits have no effect.
    public static let noSetUserID = Flags(rawValue: 2)
    /// MS_NODEV: device nodes cannot be opened.
    public static let noDevices = Flags(rawValue: 4)
    /// MS_NOEXEC: nothing can be executed.
    public static let noExecution = Flags(rawValue: 8)
    /// MS_SYNCHRONOUS.
    public static let synchronous = Flags(rawValue: 16)
    /// MS_DIRSYNC.
    public static let directorySynchronous = Flags(rawValue: 128)
    /// MS_NOATIME.
    public static let noAccessTimes = Flags(rawValue: 1024)
    /// MS_NODIRATIME.
    public static let noDirectoryAccessTimes = Flags(rawValue: 2048)
    /// MS_STRICTATIME: each read moves the access time, also where `noAccessTimes` is set; without either as with relatime.
    public static let strictAccessTimes = Flags(rawValue: 1 << 24)

    /// The kernel leaves access times to FUSE filesystems, whatever the flags.
    var accessTimes: AccessTimes {
      if contains(.readOnly) { return .never }
      if contains(.strictAccessTimes) { return .strict }
      return contains(.noAccessTimes) ? .never : .relative
    }

    var directoryAccessTimes: AccessTimes { contains(.noDirectoryAccessTimes) ? .never : accessTimes }
  }

  /// What the kernel caches. Write-through by default, so that the process and the users of the mount see each other's
  /// changes at once; a tree that is used through the mount alone is faster with `.writeback`.
  public var cache: Cache

  /// Whether users other than the one who mounts may come in. They are then checked by permission bits. For other users
  /// than root, /etc/fuse.conf must contain `user_allow_other`.
  public var allowOther: Bool

  /// Flags of mount(2). Users other than root always get `noSetUserID` and `noDevices`.
  public var flags: Flags

  /// Whether a mount point that has entries is acceptable; they are hidden until unmount.
  public var allowsNonemptyMountPoint: Bool

  /// What mount(8) and df(1) show as the source.
  public var sourceName: String

  /// Whether the mount must go when the process dies, even by SIGKILL. A `fusermount3` process then waits for that, as
  /// libfuse's `auto_unmount` does it, so it is needed even by root.
  public var unmountsWhenProcessDies: Bool

  /// How requests reach this process. Where `.ring` is impossible, mounting fails before anything is mounted.
  public var transport: Transport

  /// Most threads that serve requests over /dev/fuse at a time; nil: as many as are needed, as with a ring.
  public var workers: Int?

  /// For tests.
  package var ringFault: RingFault?

  /// Answers in place of the tree, for measuring the transport.
  package var responder: (any Responder)?

  /// What the kernel calls the filesystem's type: `fuse.` and this.
  package static let subtype = "spoolfs"

  /// Options with their defaults.
  public init(
    cache: Cache = .writethrough, allowOther: Bool = false, flags: Flags = [.noSetUserID, .noDevices],
    allowsNonemptyMountPoint: Bool = false, sourceName: String = "spoolfs", unmountsWhenProcessDies: Bool = false,
    transport: Transport = .auto, workers: Int? = nil
  ) {
    self.cache = cache
    self.allowOther = allowOther
    self.flags = flags
    self.allowsNonemptyMountPoint = allowsNonemptyMountPoint
    self.sourceName = sourceName
    self.unmountsWhenProcessDies = unmountsWhenProcessDies
    self.transport = transport
    self.workers = workers
  }
}
