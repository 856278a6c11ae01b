internal import CFuse
package import CSpoolSystem
internal import Glibc
package import SystemPackage

// How requests become operations of the tree: each is taken apart, given to the tree, and answered exactly once. What the
// tree throws is the answer's errno.
//
// The frequent ones are answered straight from the message. libfuse allocates and initialises a request with a lock for each,
// and sends through two layers of its own: a third of what a LOOKUP took. The others are its callbacks; each is a function
// of this module outside any actor: formed in main-actor code, Swift would trap when a worker calls it.

/// libfuse's table. What has no function here, and is not answered without libfuse, is answered with ENOSYS, after which the
/// kernel does not ask again: FLUSH, FSYNCDIR, IOCTL, POLL, BMAP. Locks have none either, so the kernel keeps them by itself.
func makeOperations(extendedAttributes: Bool) -> fuse_lowlevel_ops {
  var operations = fuse_lowlevel_ops()
  operations.access = serveAccess
  operations.readlink = serveReadlink
  operations.open = serveOpen
  operations.opendir = serveOpendir
  operations.readdir = serveReaddir
  operations.readdirplus = serveReaddirplus
  operations.statfs = serveStatfs
  operations.create = serveCreate
  operations.fallocate = serveFallocate
  operations.lseek = serveLseek
  operations.copy_file_range = serveCopyFileRange
  if extendedAttributes {
    operations.getxattr = serveGetxattr
    operations.setxattr = serveSetxattr
    operations.listxattr = serveListxattr
    operations.removexattr = serveRemovexattr
  }
  return operations
}

// MARK: - Requests that come often, and those that libfuse 3.14 does not know

extension Session {
  /// - Returns: whether the message has been answered.
  func answerWithoutLibfuse(_ message: Message) -> Bool {
    switch Opcode(rawValue: message.header.opcode) {
    case .lookup: serveLookup(message)
    case .forget: serveForget(message)
    case .batchForget: serveBatchForget(message)
    case .getattr: serveGetattr(message)
    case .statx: serveStatx(message)
    case .setattr: serveSetattr(message)
    case .mknod: serveMknod(message)
    case .mkdir: serveMkdir(message)
    case .unlink: serveUnlink(message)
    case .rmdir: serveRmdir(message)
    case .symlink: serveSymlink(message)
    case .link: serveLink(message)
    case .rename: serveRename(message)
    case .rename2: serveRename2(message)
    case .read: serveRead(message)
    case .write: serveWrite(message)
    case .release: serveRelease(message)
    case .fsync: serveFsync(message)
    case .tmpfile: serveTmpfile(message)
    case .copyFileRange64: serveCopyFileRange64(message)
    case .interrupt, .syncfs: message.reply.error(.noFunction)
    // What a new server of a ring asked for.
    case .notifyReply: message.reply.success()
    default: return false
    }
    return true
  }
}

/// A request as the kernel sent it.
package struct Message {
  package let header: fuse_in_header
  private let bytes: UnsafeRawBufferPointer

  init(_ header: fuse_in_header, _ bytes: UnsafeRawBufferPointer) {
    self.header = header
    self.bytes = bytes
  }

  /// The inode that it is about.
  package var node: UInt64 { header.nodeid }

  /// To be answered once.
  var reply: Reply { Reply(unique: header.unique) }

  /// The fixed argument that follows the header.
  ///
  /// - Throws: EINVAL where the message is too short for it.
  @inline(__always)
  package func argument<Value: BitwiseCopyable>(_ type: Value.Type) throws(Errno) -> Value {
    guard bytes.count >= MessageLayout.headerSize + MemoryLayout<Value>.size else { throw .invalidArgument }
    return bytes.loadUnaligned(fromByteOffset: MessageLayout.headerSize, as: type)
  }

  /// The name that follows an argument of that size, without its NUL.
  ///
  /// - Throws: EINVAL where there is none.
  @inline(__always)
  func name(after size: Int = 0) throws(Errno) -> UnsafeRawBufferPointer {
    let rest = try data(after: size)
    let length = rest.baseAddress.map { strnlen($0, rest.count) } ?? 0
    guard length < rest.count else { throw .invalidArgument }
    return UnsafeRawBufferPointer(rebasing: rest[..<length])
  }

  /// All that follows an argument of that size.
  ///
  /// - Throws: EINVAL where the message is too short for the argument.
  @inline(__always)
  func data(after size: Int) throws(Errno) -> UnsafeRawBufferPointer {
    let start = MessageLayout.headerSize + size
    guard bytes.count >= start else { throw .invalidArgument }
    return UnsafeRawBufferPointer(rebasing: bytes[start...])
  }
}
