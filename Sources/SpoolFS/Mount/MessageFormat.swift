internal import CSpoolSystem

/// What follows the header of a message that libfuse takes apart.
private struct MessageFormat {
  /// Bytes of the fixed argument.
  var argument: Int
  /// How many names follow it.
  var names = 0
  /// Whether the last name is followed by a value, of the size that the argument begins with.
  var hasValue = false

  private init<Argument>(_ argument: Argument.Type, names: Int = 0) {
    self.argument = MemoryLayout<Argument>.size
    self.names = names
  }

  private init(argument: Int, names: Int = 0, hasValue: Bool = false) {
    self.argument = argument
    self.names = names
    self.hasValue = hasValue
  }

  /// - Returns: nil for what libfuse looks no further at.
  init?(_ opcode: Opcode) {
    switch opcode {
    // Kernels before 5.17 send no more.
    case .initialize: self.init(argument: 16)
    case .open, .opendir: self.init(fuse_open_in.self)
    case .create: self.init(fuse_create_in.self, names: 1)
    case .flush: self.init(fuse_flush_in.self)
    case .fsync, .fsyncdir: self.init(fuse_fsync_in.self)
    case .readdir, .readdirplus: self.init(fuse_read_in.self)
    case .releasedir: self.init(fuse_release_in.self)
    case .access: self.init(fuse_access_in.self)
    case .getlk, .setlk, .setlkw: self.init(fuse_lk_in.self)
    case .bmap: self.init(fuse_bmap_in.self)
    case .ioctl: self.init(fuse_ioctl_in.self)
    case .poll: self.init(fuse_poll_in.self)
    case .fallocate: self.init(fuse_fallocate_in.self)
    case .lseek: self.init(fuse_lseek_in.self)
    case .copyFileRange: self.init(fuse_copy_file_range_in.self)
    // Without SETXATTR_EXT, for which nobody asks, the argument is as long as it once was.
    case .setxattr: self.init(argument: 8, names: 1, hasValue: true)
    case .getxattr: self.init(fuse_getxattr_in.self, names: 1)
    case .listxattr: self.init(fuse_getxattr_in.self)
    case .removexattr: self.init(argument: 0, names: 1)
    default: return nil
    }
  }
}

extension Message {
  /// Whether the message holds what libfuse reads of it. libfuse takes the kernel's word for that.
  var isComplete: Bool {
    guard let opcode = Opcode(rawValue: header.opcode), let format = MessageFormat(opcode) else { return true }
    var size = format.argument
    guard (try? data(after: size)) != nil else { return false }
    for _ in 0..<format.names {
      guard let name = try? name(after: size) else { return false }
      size += name.count + 1
    }
    guard format.hasValue else { return true }
    guard let value = try? argument(UInt32.self), let rest = try? data(after: size) else { return false }
    return rest.count >= Int(value)
  }
}
