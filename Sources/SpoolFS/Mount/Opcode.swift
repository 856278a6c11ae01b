internal import CSpoolSystem

/// The requests of the FUSE protocol. The kernel's header may be older than the kernel, so the numbers are here.
package enum Opcode: UInt32, CaseIterable {
  case lookup = 1
  case forget = 2
  case getattr = 3
  case setattr = 4
  case readlink = 5
  case symlink = 6
  case mknod = 8
  case mkdir = 9
  case unlink = 10
  case rmdir = 11
  case rename = 12
  case link = 13
  case open = 14
  case read = 15
  case write = 16
  case statfs = 17
  case release = 18
  case fsync = 20
  case setxattr = 21
  case getxattr = 22
  case listxattr = 23
  case removexattr = 24
  case flush = 25
  case initialize = 26
  case opendir = 27
  case readdir = 28
  case releasedir = 29
  case fsyncdir = 30
  case getlk = 31
  case setlk = 32
  case setlkw = 33
  case access = 34
  case create = 35
  case interrupt = 36
  case bmap = 37
  case destroy = 38
  case ioctl = 39
  case poll = 40
  case notifyReply = 41
  case batchForget = 42
  case fallocate = 43
  case readdirplus = 44
  case rename2 = 45
  case lseek = 46
  case copyFileRange = 47
  case syncfs = 50
  // Unknown to libfuse 3.14, the last two to older kernel headers as well.
  case tmpfile = 51
  case statx = 52
  case copyFileRange64 = 53

  /// The protocol's name without its prefix: LOOKUP, BATCH_FORGET.
  var name: String {
    switch self {
    case .initialize: "INIT"
    case .notifyReply: "NOTIFY_REPLY"
    case .batchForget: "BATCH_FORGET"
    case .copyFileRange: "COPY_FILE_RANGE"
    case .copyFileRange64: "COPY_FILE_RANGE_64"
    default: "\(self)".uppercased()
    }
  }
}

/// The sizes and places of a message that are used without libfuse. All of it is stable kernel ABI.
enum MessageLayout {
  /// `fuse_in_header` at the start of every request.
  static let headerSize = MemoryLayout<fuse_in_header>.size
  /// Where a WRITE's data begins.
  static let writePayloadOffset = headerSize + MemoryLayout<fuse_write_in>.size
}
