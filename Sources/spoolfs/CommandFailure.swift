internal import SpoolFS
internal import SystemPackage

/// Why the command ends without having done its job: one line for stderr, and the exit status.
struct CommandFailure: Error, Equatable {
  /// The exit statuses of every subcommand but `run`, which answers 125 for each of them as `env` and `timeout` do.
  /// Names and numbers are those of sysexits.h.
  enum Kind: Int32 {
    /// Something else went wrong.
    case other = 1
    /// EX_USAGE: an unknown option, a value that cannot be, or no mount of ours.
    case usage = 64
    /// EX_NOINPUT: the mount point is missing or not a directory.
    case noMountPoint = 66
    /// EX_UNAVAILABLE: there is no /dev/fuse.
    case noDevice = 69
    /// EX_OSERR: the system refused to mount or unmount.
    case system = 71
    /// EX_OSFILE: there is no fusermount3, which a user who is not root needs.
    case noHelper = 72
    /// EX_CANTCREAT: the mount point is not empty.
    case occupied = 73
    /// EX_TEMPFAIL: the mount is in use, or its server does not answer or does not end.
    case busy = 75
    /// EX_NOPERM: a permission is missing.
    case noPermission = 77
    /// EX_CONFIG: the spill directory cannot be used.
    case spillDirectory = 78
  }

  var kind: Kind
  var message: String

  init(_ kind: Kind, _ message: String) {
    self.kind = kind
    self.message = message
  }

  /// `what` failed with `errno`.
  init(_ kind: Kind = .other, _ what: String, _ errno: Errno) {
    self.init(kind, "\(what): \(errno.description)")
  }
}

extension CommandFailure {
  /// What the library says, under the exit status for its kind.
  init(_ error: SpoolFSError) {
    let kind: Kind =
      switch error.code {
      case .notFound, .notADirectory: .noMountPoint
      case .directoryNotEmpty, .alreadyMounted: .occupied
      case .deviceMissing: .noDevice
      case .devicePermission, .permissionDenied: .noPermission
      case .helperMissing: .noHelper
      case .busy: .busy
      case .mountRefused, .deadMount: .system
      default: .other
      }
    self.init(kind, error.description)
  }
}

extension CommandFailure: CustomStringConvertible {
  var description: String { message }
}
