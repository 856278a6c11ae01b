internal import CSpoolSystem
internal import Glibc
internal import SystemPackage

/// A new process by posix_spawn(3).
///
/// Not swift-subprocess: it sets every signal to its default in the child, so that `nohup spoolfs run …` would no longer
/// protect the program from SIGHUP, and it waits for the child by itself, so that a stop (Ctrl-Z) goes unnoticed.
struct Spawn {
  /// Looked up in PATH when it has no slash.
  var executable: UnsafePointer<CChar>
  /// Ends with nil.
  var arguments: UnsafePointer<UnsafeMutablePointer<CChar>?>
  var environment: UnsafePointer<UnsafeMutablePointer<CChar>?> = UnsafePointer(environ)
  /// Whether the process leads a session of its own, without a terminal.
  var startsSession = false
  /// Descriptors of this process, and the numbers under which the new one has them.
  var descriptors: [(own: Int32, new: Int32)] = []
  /// Whether descriptors from this number on are closed, even those that are inherited otherwise.
  var closesFrom: Int32?
  /// The signals that are blocked in the new process.
  var signalMask = SignalSet()

  /// - Throws: what execve(2) failed with, such as `ENOENT` or `EACCES`.
  func start() throws(Errno) -> pid_t {
    var actions = posix_spawn_file_actions_t()
    var attributes = posix_spawnattr_t()
    posix_spawn_file_actions_init(&actions)
    posix_spawnattr_init(&attributes)
    defer {
      posix_spawn_file_actions_destroy(&actions)
      posix_spawnattr_destroy(&attributes)
    }
    for (own, new) in descriptors { posix_spawn_file_actions_adddup2(&actions, own, new) }
    if let closesFrom { _ = spool_spawn_close_from(&actions, closesFrom) }
    var mask = signalMask.raw
    posix_spawnattr_setsigmask(&attributes, &mask)
    let flags = Int16(POSIX_SPAWN_SETSIGMASK) | (startsSession ? spool_spawn_setsid : 0)
    posix_spawnattr_setflags(&attributes, flags)

    var process: pid_t = 0
    let error = posix_spawnp(&process, executable, &actions, &attributes, arguments, environment)
    guard error == 0 else { throw Errno(rawValue: error) }
    return process
  }

  /// Starts this program anew with `arguments`, in a session of its own and with nothing open but `descriptors`.
  ///
  /// A Swift process that has run must not fork: locks and threads of the runtime do not survive it.
  static func itself(
    _ arguments: borrowing CStrings, descriptors: [(own: Int32, new: Int32)]
  ) throws(Errno) -> pid_t {
    let executable = CStrings(["/proc/self/exe"])
    let first = (descriptors.map(\.new).max() ?? 2) + 1
    // One after the other they would overwrite those that are still to be duplicated.
    var copies: [(own: Int32, new: Int32)] = []
    defer { for copy in copies { close(copy.own) } }
    for (own, new) in descriptors {
      let copy = fcntl(own, F_DUPFD_CLOEXEC, first)
      guard copy >= 0 else { throw Errno(rawValue: errno) }
      copies.append((copy, new))
    }
    let spawn = Spawn(
      executable: executable.first, arguments: arguments.pointers, startsSession: true, descriptors: copies,
      closesFrom: first)
    return try spawn.start()
  }

  static func openNull() throws(Errno) -> FileDescriptor {
    let descriptor = spool_openat(AT_FDCWD, "/dev/null", O_RDWR | O_CLOEXEC, 0)
    guard descriptor >= 0 else { throw Errno(rawValue: errno) }
    return FileDescriptor(rawValue: descriptor)
  }
}

/// The two ends of a pipe, closed in programs that are started unless they are told otherwise.
struct Pipe {
  let readEnd: FileDescriptor
  let writeEnd: FileDescriptor

  init() throws(Errno) {
    var ends: [Int32] = [0, 0]
    guard spool_pipe(&ends) == 0 else { throw Errno(rawValue: errno) }
    readEnd = FileDescriptor(rawValue: ends[0])
    writeEnd = FileDescriptor(rawValue: ends[1])
  }
}

extension FileDescriptor {
  /// All bytes up to the end of the file.
  func readToEnd() throws -> [UInt8] {
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 4096)
    while true {
      let count = try buffer.withUnsafeMutableBytes { try read(into: $0) }
      if count == 0 { return bytes }
      bytes += buffer[..<count]
    }
  }
}

/// Strings for execve(2): their bytes, and an array of pointers to them that ends with nil.
struct CStrings: ~Copyable {
  private let array: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>
  private let count: Int

  init(_ strings: [FilePath]) {
    self.init(copying: strings.map { string in string.withPlatformString { strdup($0)! } })
  }

  /// Copies of strings that stay with their owner.
  init(_ strings: [UnsafePointer<CChar>]) {
    self.init(copying: strings.map { strdup($0)! })
  }

  private init(copying copies: [UnsafeMutablePointer<CChar>]) {
    count = copies.count
    array = .allocate(capacity: copies.count + 1)
    for (index, copy) in copies.enumerated() { (array + index).initialize(to: copy) }
    (array + count).initialize(to: nil)
  }

  var pointers: UnsafePointer<UnsafeMutablePointer<CChar>?> { UnsafePointer(array) }

  var first: UnsafePointer<CChar> { UnsafePointer(array[0]!) }

  deinit {
    for index in 0..<count { free(array[index]) }
    array.deallocate()
  }
}
