internal import CSpoolSystem
internal import Glibc
internal import SpoolStorage
internal import SystemPackage

/// Which file it is, whatever its name: device and inode, and when it was made, since the number of an inode is given to
/// another file soon after it is free.
struct FileIdentity: Equatable, Sendable {
  let device: UInt
  let inode: UInt
  /// Nanoseconds since 1970, in the steps of the filesystem's clock, which are milliseconds; nil where nobody has told.
  private let birth: Int64?

  init(_ status: stat) {
    device = UInt(status.st_dev)
    inode = UInt(status.st_ino)
    birth = nil
  }

  private init(_ identity: spool_identity) {
    device = UInt(identity.device)
    inode = UInt(identity.inode)
    birth = identity.birth < 0 ? nil : identity.birth
  }

  /// The corresponding C function is `statx`.
  init(of file: CInt) throws(Errno) {
    var identity = spool_identity()
    try retryingInterrupts { spool_identify(file, "", &identity) }
    self.init(identity)
  }

  /// The identity of what is at `path`, links not followed. The corresponding C function is `statx`.
  init(at path: FilePath) throws(Errno) {
    // An empty path would be the descriptor's own file.
    if path.isEmpty { throw .noSuchFileOrDirectory }
    var identity = spool_identity()
    try retryingInterrupts { path.withPlatformString { spool_identify(AT_FDCWD, $0, &identity) } }
    self.init(identity)
  }

  /// Whether they are the same file, as far as is known of both.
  static func == (left: Self, right: Self) -> Bool {
    guard left.device == right.device, left.inode == right.inode else { return false }
    guard let one = left.birth, let other = right.birth else { return true }
    return one == other
  }
}
