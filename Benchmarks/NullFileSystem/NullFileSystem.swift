internal import CSpoolSystem
internal import Glibc
internal import SpoolFS
internal import Synchronization
internal import SystemPackage

/// A filesystem that does nothing, over spoolfs's transports: no name is found, every name can be made and removed, what is
/// written is dropped, and zeros are read. What an operation takes there is the kernel's and the transport's part of it.
///
/// Arguments: mount point, transport, cache mode. Ends when it is unmounted.
@main
enum NullFileSystem {
  static func main() throws {
    let arguments = CommandLine.arguments
    guard arguments.count == 4, let transport = MountOptions.Transport(rawValue: arguments[2]),
      let cache = MountOptions.Cache(rawValue: arguments[3])
    else {
      print("usage: NullFileSystem MOUNTPOINT auto|ring|device writeback|writethrough|none")
      exit(2)
    }
    var options = MountOptions(cache: cache, sourceName: "null", transport: transport)
    options.responder = NullResponder(bypassesCache: cache == .none)
    try FileSystem().mount(at: FilePath(arguments[1]), options: options).waitUntilUnmounted()
  }
}

/// Of a file it knows the number, which says of what kind it is, and the size, without which nothing could be read.
private final class NullResponder: Responder, @unchecked Sendable {
  // @unchecked: what the pointers point to is written without a lock; of two sizes at the same time either will do.

  private static let always: UInt64 = 1 << 28
  // Added to a number.
  private static let file: UInt64 = 0
  private static let directory: UInt64 = 1 << 40
  private static let symbolicLink: UInt64 = 1 << 41
  /// Files of which sizes are known at a time; one that was made so many files later takes another's place.
  private static let slots = 1 << 16
  private static let largestRead = 1 << 20

  private let next = Atomic<UInt64>(2)
  private let sizes = UnsafeMutablePointer<UInt64>.allocate(capacity: slots)
  private let zeros = UnsafeMutableRawPointer.allocate(byteCount: largestRead, alignment: 4096)

  private let openFlags: UInt32

  /// - Parameter bypassesCache: whether each read and write is to be a request.
  init(bypassesCache: Bool) {
    openFlags = bypassesCache ? UInt32(FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES) : 0
    sizes.initialize(repeating: 0, count: Self.slots)
    memset(zeros, 0, Self.largestRead)
  }

  func answer(to message: Message) -> Answer? {
    do throws(Errno) { return try answer(message) } catch { return .error(error) }
  }

  private func answer(_ message: Message) throws(Errno) -> Answer? {
    switch Opcode(rawValue: message.header.opcode) {
    case .lookup: .error(.noSuchFileOrDirectory)
    case .forget, .batchForget: .silence
    case .getattr: attributes(of: message.node)
    case .setattr: setAttributes(of: message.node, try message.argument(fuse_setattr_in.self))
    case .mknod: entry(Self.file)
    case .mkdir: entry(Self.directory)
    case .symlink: entry(Self.symbolicLink)
    case .open where openFlags != 0: Self.answer(fuse_open_out(fh: 0, open_flags: openFlags, padding: 0))
    // Where OPEN is not served CREATE is not either: see spoolfs's own.
    case .create where openFlags != 0: opened()
    case .tmpfile: opened()
    case .unlink, .rmdir, .rename, .rename2, .release, .access: .success
    case .readdir, .readdirplus: .success
    case .read: read(from: message.node, try message.argument(fuse_read_in.self))
    case .write: write(to: message.node, try message.argument(fuse_write_in.self))
    case .initialize, .destroy, .notifyReply: nil
    default: .error(.noFunction)
    }
  }

  private func size(of node: UInt64) -> UnsafeMutablePointer<UInt64> { sizes + Int(node & UInt64(Self.slots - 1)) }

  private func entry(_ kind: UInt64) -> Answer { Self.answer(makeEntry(kind)) }

  private func opened() -> Answer {
    Self.answer((makeEntry(Self.file), fuse_open_out(fh: 0, open_flags: openFlags, padding: 0)))
  }

  private func makeEntry(_ kind: UInt64) -> fuse_entry_out {
    let node = next.wrappingAdd(1, ordering: .relaxed).newValue | kind
    size(of: node).pointee = 0
    var entry = fuse_entry_out()
    entry.nodeid = node
    entry.entry_valid = Self.always
    entry.attr_valid = Self.always
    entry.attr = status(of: node)
    return entry
  }

  private func status(of node: UInt64) -> fuse_attr {
    var status = fuse_attr()
    status.ino = node
    status.nlink = 1
    status.uid = geteuid()
    status.gid = getegid()
    if node == 1 || node & Self.directory != 0 {
      status.mode = S_IFDIR | 0o755
    } else if node & Self.symbolicLink != 0 {
      status.mode = S_IFLNK | 0o777
    } else {
      status.mode = S_IFREG | 0o644
      status.size = size(of: node).pointee
    }
    status.blksize = 4096
    return status
  }

  private func attributes(of node: UInt64) -> Answer {
    var answer = fuse_attr_out()
    answer.attr_valid = Self.always
    answer.attr = status(of: node)
    return Self.answer(answer)
  }

  private func setAttributes(of node: UInt64, _ arguments: fuse_setattr_in) -> Answer {
    if arguments.valid & UInt32(FATTR_SIZE) != 0 { size(of: node).pointee = arguments.size }
    return attributes(of: node)
  }

  private func read(from node: UInt64, _ arguments: fuse_read_in) -> Answer {
    let left = max(0, Int64(size(of: node).pointee) - Int64(arguments.offset))
    return .bytes(UnsafeRawBufferPointer(start: zeros, count: Int(min(Int64(arguments.size), left))))
  }

  private func write(to node: UInt64, _ arguments: fuse_write_in) -> Answer {
    let size = size(of: node)
    size.pointee = max(size.pointee, arguments.offset + UInt64(arguments.size))
    return Self.answer(fuse_write_out(size: arguments.size, padding: 0))
  }

  /// Answers with a value that the calling thread keeps until its next answer.
  private static func answer<Value: BitwiseCopyable>(_ value: Value) -> Answer {
    let place = answerOfThread()
    place.storeBytes(of: value, as: Value.self)
    return .bytes(UnsafeRawBufferPointer(start: place, count: MemoryLayout<Value>.size))
  }

  private static let key: pthread_key_t = {
    var key = pthread_key_t()
    pthread_key_create(&key, free)
    return key
  }()

  private static func answerOfThread() -> UnsafeMutableRawPointer {
    if let place = pthread_getspecific(key) { return place }
    let place = malloc(256)!
    pthread_setspecific(key, place)
    return place
  }
}
