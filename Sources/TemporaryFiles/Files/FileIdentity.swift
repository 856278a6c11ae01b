internal import CSpoolSystem
internal import Glibc
internal import SpoolStorage
internal import SystemPackage

/// Which file it is, whatever its name: device and inode.
struct FileIdentity: Equatable, Sendable {
  let device: UInt
  let inode: UInt

  init(_ status: stat) {
    device = UInt(status.st_dev)
    inode = UInt(status.st_ino)
  }

  /// The corresponding C function is `fstat`.
  init(of file: CInt) throws(Errno) { self.init(try Descriptor.status(file)) }

  /// The identity of what is at `path`, links not followed. The corresponding C function is `lstat`.
  init(at path: FilePath) throws(Errno) {
    var status = stat()
    try retryingInterrupts { path.withPlatformString { lstat($0, &status) } }
    self.init(status)
  }
}
