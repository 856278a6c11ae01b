public import SystemPackage

/// What went wrong, with what, and why: the one error that this module throws.
///
/// `code` is what a program decides by, `description` is what a person reads.
public struct TemporaryFileError: Error, Sendable, Equatable {
  /// The kind of failure. New kinds may be added, so a `switch` needs a `default`.
  public struct Code: Hashable, Sendable, CustomStringConvertible {
    /// The name of the code.
    public let description: String

    init(_ name: String) { description = name }
  }

  /// The kind of failure.
  public var code: Code

  /// What was being done, as a verb phrase: "make a temporary file in", "write to".
  public var operation: String

  /// What it was being done to. nil for a file without a name.
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

  /// Wraps what a system call answered.
  public init(errno: Errno, operation: String, path: FilePath? = nil) {
    self.init(Code(errno), operation: operation, path: path, errno: errno)
  }
}

extension TemporaryFileError: CustomStringConvertible {
  /// "cannot make a temporary file in /nonexistent: No such file or directory".
  public var description: String {
    let subject = path.map { " \($0.string)" } ?? ""
    return "cannot \(operation)\(subject): \(message)"
  }
}

extension TemporaryFileError.Code {
  /// None of the directories for temporary files can be used.
  public static let noUsableTemporaryDirectory = Self("noUsableTemporaryDirectory")
  /// Every name that was tried exists.
  public static let namesExhausted = Self("namesExhausted")
  /// A prefix or suffix holds a slash or a NUL, or the name would be longer than names can be.
  public static let invalidName = Self("invalidName")
  /// The file or directory is closed.
  public static let closed = Self("closed")
  /// A file could not continue on disk. It is in memory, with all its bytes; `errno` says what the disk answered.
  public static let rolloverFailed = Self("rolloverFailed")
  /// The file would outgrow its `maximumSize`. Nothing has been written.
  public static let sizeLimitExceeded = Self("sizeLimitExceeded")
  /// The target exists and must not be replaced (EEXIST).
  public static let alreadyExists = Self("alreadyExists")
  /// The target is on another filesystem, and the operation was told not to copy (EXDEV).
  public static let crossDevice = Self("crossDevice")
  /// Something of a directory could not be removed. What could be removed is gone.
  public static let cleanupFailed = Self("cleanupFailed")
  /// This kind of file, filesystem or kernel cannot do it (EOPNOTSUPP, ENOSYS).
  public static let unsupported = Self("unsupported")
  /// Bytes that are no text in the encoding, and the error mode is strict.
  public static let decodingFailed = Self("decodingFailed")
  /// Text that the encoding has no bytes for, and the error mode is strict.
  public static let encodingFailed = Self("encodingFailed")
  /// Nothing is there under that path (ENOENT).
  public static let notFound = Self("notFound")
  /// A directory is needed (ENOTDIR).
  public static let notADirectory = Self("notADirectory")
  /// Not allowed (EACCES, EPERM, EROFS).
  public static let permissionDenied = Self("permissionDenied")
  /// The disk, a quota or the store is full (ENOSPC, EDQUOT).
  public static let noSpace = Self("noSpace")
  /// An argument makes no sense (EINVAL).
  public static let invalidArgument = Self("invalidArgument")
  /// Another file has taken the place of the one that was made.
  public static let replaced = Self("replaced")
  /// Anything else; see `errno`.
  public static let failed = Self("failed")

  /// The code for what a system call answered.
  public init(_ errno: Errno) {
    self =
      switch errno {
      case .noSuchFileOrDirectory: .notFound
      case .fileExists: .alreadyExists
      case .notDirectory: .notADirectory
      case .permissionDenied, .notPermitted, .readOnlyFileSystem: .permissionDenied
      case .invalidArgument: .invalidArgument
      case .fileNameTooLong: .invalidName
      case .noSpace, .diskQuotaExceeded: .noSpace
      case .badFileDescriptor: .closed
      case .improperLink: .crossDevice
      case .notSupportedOnSocket, .notSupported, .noFunction: .unsupported
      default: .failed
      }
  }
}

/// Runs `body`, and says what it was for if it throws.
@inline(__always)
func wrap<Result: ~Copyable>(
  _ operation: @autoclosure () -> String, _ path: @autoclosure () -> FilePath? = nil,
  _ body: () throws(Errno) -> Result
) throws(TemporaryFileError) -> Result {
  do throws(Errno) { return try body() } catch {
    throw TemporaryFileError(errno: error, operation: operation(), path: path())
  }
}
