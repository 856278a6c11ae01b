public import SystemPackage

/// What went wrong, where, and why: the one error that the public API of this module throws.
///
/// `code` is what a program decides by, `description` is what a person reads.
public struct SpoolFSError: Error, Sendable, Equatable {
  /// The kind of failure. New kinds may be added, so a `switch` needs a `default`.
  public struct Code: Hashable, Sendable, CustomStringConvertible {
    /// The name of the code.
    public let description: String

    init(_ name: String) { description = name }
  }

  /// The kind of failure.
  public var code: Code

  /// What was being done, as a verb phrase: "mount", "remove the directory".
  public var operation: String

  /// What it was being done to.
  public var path: FilePath?

  /// What the system call answered, where one did.
  public var errno: Errno?

  /// Why, in one sentence without a full stop.
  public var message: String

  /// Creates an error. Without a `message`, the text of `errno` serves.
  public init(_ code: Code, operation: String, path: FilePath? = nil, errno: Errno? = nil, message: String? = nil) {
    self.code = code
    self.operation = operation
    self.path = path
    self.errno = errno
    self.message = message ?? errno?.description ?? code.description
  }

  /// Wraps what a system call, or the tree, answered.
  public init(errno: Errno, operation: String, path: FilePath? = nil) {
    self.init(Code(errno), operation: operation, path: path, errno: errno)
  }
}

extension SpoolFSError: CustomStringConvertible {
  /// "cannot mount /tmp/x: directory not empty". Control characters of the path are escaped as `ls -b` does.
  public var description: String {
    let subject = path.map { " \($0.escaped)" } ?? ""
    return "cannot \(operation)\(subject): \(message)"
  }
}

extension SpoolFSError.Code {
  /// Nothing is there under that path (ENOENT).
  public static let notFound = Self("notFound")
  /// The name is taken (EEXIST).
  public static let alreadyExists = Self("alreadyExists")
  /// A directory is needed (ENOTDIR).
  public static let notADirectory = Self("notADirectory")
  /// A directory cannot serve (EISDIR).
  public static let isADirectory = Self("isADirectory")
  /// The directory has entries (ENOTEMPTY).
  public static let directoryNotEmpty = Self("directoryNotEmpty")
  /// Not allowed (EACCES, EPERM).
  public static let permissionDenied = Self("permissionDenied")
  /// An argument makes no sense (EINVAL).
  public static let invalidArgument = Self("invalidArgument")
  /// A name is longer than 255 bytes, or a path than the kernel takes (ENAMETOOLONG).
  public static let nameTooLong = Self("nameTooLong")
  /// A limit of the filesystem, or its disk, is full (ENOSPC, EDQUOT).
  public static let noSpace = Self("noSpace")
  /// A file would become larger than files can be (EFBIG).
  public static let fileTooLarge = Self("fileTooLarge")
  /// The handle is closed, or was not opened for this (EBADF).
  public static let badDescriptor = Self("badDescriptor")
  /// Used by somebody: close it first (EBUSY).
  public static let busy = Self("busy")
  /// This cannot be done here (EOPNOTSUPP, ENOSYS).
  public static let unsupported = Self("unsupported")
  /// There is no /dev/fuse: the kernel has no FUSE, or the container was not given the device.
  public static let deviceMissing = Self("deviceMissing")
  /// /dev/fuse is there, but must not be opened.
  public static let devicePermission = Self("devicePermission")
  /// The helper `fusermount3`, which mounts for users other than root, is not installed.
  public static let helperMissing = Self("helperMissing")
  /// The kernel, or `fusermount3`, refuses to mount.
  public static let mountRefused = Self("mountRefused")
  /// The mount point holds a mount whose process has died.
  public static let deadMount = Self("deadMount")
  /// Nothing is mounted there.
  public static let notMounted = Self("notMounted")
  /// The filesystem is mounted already; one `FileSystem` has at most one mount.
  public static let alreadyMounted = Self("alreadyMounted")
  /// Anything else; see `errno`.
  public static let failed = Self("failed")

  /// The code for what a system call answered.
  public init(_ errno: Errno) {
    self =
      switch errno {
      case .noSuchFileOrDirectory: .notFound
      case .fileExists: .alreadyExists
      case .notDirectory: .notADirectory
      case .isDirectory: .isADirectory
      case .directoryNotEmpty: .directoryNotEmpty
      case .permissionDenied, .notPermitted: .permissionDenied
      case .invalidArgument: .invalidArgument
      case .fileNameTooLong: .nameTooLong
      case .noSpace, .diskQuotaExceeded: .noSpace
      case .fileTooLarge: .fileTooLarge
      case .badFileDescriptor: .badDescriptor
      case .resourceBusy: .busy
      case .notSupportedOnSocket, .notSupported, .noFunction: .unsupported
      default: .failed
      }
  }
}
