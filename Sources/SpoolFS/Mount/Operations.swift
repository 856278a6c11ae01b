internal import CFuse
internal import CSpoolSystem
internal import Glibc
internal import SystemPackage

// How requests become operations of the tree. Each callback is a function of this module outside any actor: formed in
// main-actor code, Swift would trap when a worker calls it.
//
// A callback takes its arguments apart, calls the tree, and answers exactly once. What the tree throws is the answer's
// errno.

/// libfuse's table. What has no function here is answered with ENOSYS, after which the kernel does not ask again: FLUSH,
/// FSYNC, FSYNCDIR, IOCTL, POLL, BMAP. Locks have none either, so the kernel keeps them by itself.
func makeOperations(extendedAttributes: Bool) -> fuse_lowlevel_ops {
  var operations = fuse_lowlevel_ops()
  operations.lookup = serveLookup
  operations.forget = serveForget
  operations.forget_multi = serveForgetMulti
  operations.getattr = serveGetattr
  operations.setattr = serveSetattr
  operations.access = serveAccess
  operations.readlink = serveReadlink
  operations.mknod = serveMknod
  operations.mkdir = serveMkdir
  operations.unlink = serveUnlink
  operations.rmdir = serveRmdir
  operations.symlink = serveSymlink
  operations.rename = serveRename
  operations.link = serveLink
  operations.open = serveOpen
  operations.read = serveRead
  operations.write = serveWrite
  operations.release = serveRelease
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

// MARK: - Requests that libfuse 3.14 does not know, or would serve with locks and lists

extension Session {
  /// - Returns: whether the message has been answered.
  func answerWithoutLibfuse(_ header: fuse_in_header, _ message: UnsafeMutableRawBufferPointer) -> Bool {
    switch Opcode(rawValue: header.opcode) {
    case .interrupt, .statx, .syncfs:
      Reply(unique: header.unique).error(.noFunction)
    case .notifyReply:
      // What a new server of a ring asked for.
      Reply(unique: header.unique).success()
    case .tmpfile:
      serveTmpfile(header, message)
    case .copyFileRange64:
      serveCopyFileRange64(header, message)
    default:
      return false
    }
    return true
  }

  private func serveTmpfile(_ header: fuse_in_header, _ message: UnsafeMutableRawBufferPointer) {
    let reply = Reply(unique: header.unique)
    let request = Request(header, session: self)
    do throws(Errno) {
      let arguments = try message.argument(fuse_create_in.self)
      let parent = try request.inode(header.nodeid)
      let inode = try files.createUnnamed(in: parent, mode: arguments.mode, by: request.caller)
      reply.open(inode, request)
    } catch {
      reply.error(error)
    }
  }

  private func serveCopyFileRange64(_ header: fuse_in_header, _ message: UnsafeMutableRawBufferPointer) {
    let reply = Reply(unique: header.unique)
    let request = Request(header, session: self)
    do throws(Errno) {
      let arguments = try message.argument(fuse_copy_file_range_in.self)
      let count = try files.copyRange(
        from: request.inode(header.nodeid), at: Int64(bitPattern: arguments.off_in),
        to: request.inode(arguments.nodeid_out), at: Int64(bitPattern: arguments.off_out),
        count: Int(clamping: arguments.len), by: request.caller)
      reply.value(UInt64(count))
    } catch {
      reply.error(error)
    }
  }
}

extension UnsafeMutableRawBufferPointer {
  /// The fixed argument that follows the header.
  ///
  /// - Throws: EINVAL where the message is too short for it.
  fileprivate func argument<Value: BitwiseCopyable>(_ type: Value.Type) throws(Errno) -> Value {
    guard count >= MessageLayout.headerSize + MemoryLayout<Value>.size else { throw .invalidArgument }
    return loadUnaligned(fromByteOffset: MessageLayout.headerSize, as: type)
  }
}
