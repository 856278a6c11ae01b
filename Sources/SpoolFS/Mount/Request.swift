internal import CFuse
internal import CSpoolSystem
internal import Glibc
internal import SystemPackage

/// A request under way.
struct Request {
  let session: Session
  let caller: Caller

  /// One that libfuse has read, borrowed for the time of its callback.
  init(_ handle: fuse_req_t) {
    session = Session.of(fuse_req_userdata(handle))
    let context = fuse_req_ctx(handle).pointee
    caller = .kernel(
      user: context.uid, group: context.gid, process: context.pid, stampsFiles: session.negotiation.kernelHoldsData)
  }

  init(_ message: Message, _ session: Session) {
    self.session = session
    let header = message.header
    caller = .kernel(
      user: header.uid, group: header.gid, process: Int32(bitPattern: header.pid),
      stampsFiles: session.negotiation.kernelHoldsData)
  }

  var files: FileSystem { session.files }

  /// The caller as who takes set-user and set-group bits away from `inode`: with all its groups, where they matter.
  func caller(takingPrivilegesFrom inode: Inode) -> Caller {
    guard caller.user != 0, inode.lock.withLock({ inode.hasLockingBitLocked }),
      let groups = ProcessFile.supplementaryGroups(of: caller.process)
    else { return caller }
    var caller = caller
    caller.supplementaryGroups = groups
    caller.knowsGroups = true
    return caller
  }

  /// The worker that serves this request, on whose thread we are.
  var worker: Worker { Worker.current! }

  /// - Throws: ESTALE for a number that the kernel should not know.
  func inode(_ id: UInt64) throws(Errno) -> Inode {
    guard let inode = session.files.inode(id) else { throw .staleNFSFileHandle }
    return inode
  }
}

/// The bytes of a C string without its NUL.
func nameBytes(_ name: UnsafePointer<CChar>) -> UnsafeRawBufferPointer {
  UnsafeRawBufferPointer(start: name, count: strlen(name))
}
