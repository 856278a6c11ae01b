internal import CSpoolSystem
internal import Glibc
internal import SpoolFS
internal import SpoolStorage
internal import SystemPackage

/// The guardian's own life: waits until the server has gone, then clears up unless that was done.
///
/// A killed server may be unable to end: one of its threads can wait in the kernel for the write-back of dirty pages,
/// and no other thread is left that could take them. Its descriptors then stay open, so nobody ends the connection and
/// every user of the mount waits. The guardian learns of that from the signal at the death of the thread that started
/// it, and aborts the connection.
///
/// First comes what others wait for, then what is told, and last what may take for ever.
final class GuardianProcess: Sendable {
  /// Sent by the kernel when the thread that started the guardian has ended.
  private static let parentDeath = SIGUSR1
  /// How long a killed process may take to end, in milliseconds: it gives all its memory back.
  private static let patience = 2000
  /// How often it looks whether a name is in use, in seconds.
  private static let firstPause: UInt32 = 1
  private static let longestPause: UInt32 = 10

  private let mountPoint: FilePath
  /// The private directory of `run`.
  private let directory: PrivateDirectory?
  private let message = Message()
  private let server: ServerEnd

  /// - Parameter directory: the path of the private directory that is open as `Guardian.Descriptor.directory`.
  init(of mountPoint: FilePath, directory: FilePath?, isInSharedDirectory: Bool) {
    self.mountPoint = mountPoint
    self.directory = directory.map {
      PrivateDirectory(
        at: $0, isInSharedDirectory: isInSharedDirectory,
        lock: FileDescriptor(rawValue: Guardian.Descriptor.directory))
    }
    server = ServerEnd()
  }

  /// - Throws: what reading the pipe fails with.
  func run() throws {
    // SIGPIPE: whoever read what `run` writes may be gone.
    Signals.block(SignalSet([Self.parentDeath, SIGPIPE]))
    // Nobody's directory is to be kept busy.
    chdir("/")
    spool_signal_at_parent_death(Self.parentDeath)
    // Without that thread only a server that cannot end is left alone.
    try? SystemThread.start(named: "spoolfs/abort") { [self] in abortIfServerHangs() }
    let pipe = FileDescriptor(rawValue: Guardian.Descriptor.pipe)
    try message.readToEnd(of: pipe)
    switch message.farewell {
    case .done: return
    case .keepName: letGo(of: Guardian.Descriptor.errors)
    case nil: cleanUpAfterDeath()
    }
    letGo(of: Guardian.Descriptor.pipe)
    server.close()
    removeDirectory()
  }

  private func abortIfServerHangs() {
    while Signals.next(of: SignalSet([Self.parentDeath])) == nil {}
    // This process ends when the pipe does, and this thread with it.
    usleep(UInt32(Self.patience) * 1000)
    if message.hasEnded { return }
    guard let mount = message.mount(at: mountPoint) else { return }
    MountPoint.abort(mount)
    try? MountPoint.unmount(mountPoint, lazily: true)
  }

  // MARK: - After the server's death

  private func cleanUpAfterDeath() {
    let wasMounted = message.mount(at: mountPoint) != nil
    if let directory {
      try? directory.clear()
    } else if wasMounted {
      try? MountPoint.unmount(mountPoint, lazily: true)
    }
    if directory != nil || wasMounted { tell() }
    letGo(of: Guardian.Descriptor.errors)
  }

  /// One line for whoever reads the log, and for the user of `run`.
  private func tell() {
    let (server, path, isRun) = (server, mountPoint, directory != nil)
    _ = TimeLimit.value(within: .seconds(2)) {
      let loss = isRun ? "the program has lost its TMPDIR and everything in it" : "everything in it is gone"
      let text = "the process that served \(path) (\(server.process)) \(server.description); \(loss)"
      if isRun { Terminal.note(text) }
      spool_syslog(LOG_DAEMON | LOG_ERR, "spoolfs: " + text)
      return true
    }
  }

  // MARK: - The name

  /// Removes the cleared directory as soon as that makes its name nobody else's.
  private func removeDirectory() {
    guard let directory else { return }
    if directory.isInSharedDirectory {
      var pause = Self.firstPause
      while PathUsers.exist(of: directory.path) {
        letGo(of: Guardian.Descriptor.answer)
        sleep(pause)
        pause = min(pause * 2, Self.longestPause)
      }
    }
    try? directory.remove()
  }

  private func letGo(of descriptor: Int32) {
    guard let null = try? Spawn.openNull() else {
      close(descriptor)
      return
    }
    dup2(null.rawValue, descriptor)
    try? null.close()
  }

  // MARK: - The pipe

  /// What the server has told so far: the device of its filesystem, and its farewell.
  private final class Message: @unchecked Sendable {
    // @unchecked: `lock` protects the variables.
    private let lock = Lock()
    private var bytes: [UInt8] = []
    private var isComplete = false

    func readToEnd(of pipe: FileDescriptor) throws {
      var buffer = [UInt8](repeating: 0, count: 64)
      while true {
        let count = try buffer.withUnsafeMutableBytes { try pipe.read(into: $0) }
        if count == 0 { break }
        lock.withLock { bytes += buffer[..<count] }
      }
      lock.withLock { isComplete = true }
    }

    var hasEnded: Bool { lock.withLock { isComplete } }

    var farewell: Guardian.Farewell? { lock.withLock { bytes.last.flatMap(Guardian.Farewell.init) } }

    /// The server's mount at `mountPoint`; nil where there is none, or another one by now.
    func mount(at mountPoint: FilePath) -> MountEntry? {
      guard let mount = try? MountTable.top(at: mountPoint), mount.isSpoolFS,
        lock.withLock({ bytes.elementsEqual(mount.device.utf8) })
      else { return nil }
      return mount
    }
  }
}

/// How the process that started this one ends.
struct ServerEnd: Sendable {
  let process: pid_t
  /// -1: the kernel has none.
  private let descriptor: Int32
  /// How many processes the kernel had killed for want of memory.
  private let memoryKills: Int?

  init() {
    process = getppid()
    descriptor = spool_pidfd_open(process)
    memoryKills = Self.memoryKills()
  }

  /// Lets go of what the process is recognised by.
  func close() { _ = Glibc.close(descriptor) }

  /// What to say of it, when it has ended.
  var description: String {
    guard let status else { return "was killed, or has crashed" }
    guard status == .signaled(SIGKILL), let memoryKills, let now = Self.memoryKills(), now > memoryKills else {
      return status == .signaled(SIGKILL) ? "was killed (signal 9)" : status.description
    }
    return "was killed (signal 9), and the kernel was killing processes for want of memory (OOM killer)"
  }

  private var status: WaitStatus? {
    guard descriptor >= 0 else { return nil }
    // Until its parent has asked, it is in /proc.
    if let raw = statusInProc() { return WaitStatus(raw: raw) }
    var event = pollfd(fd: descriptor, events: 0, revents: 0)
    _ = poll(&event, 1, 500)
    let raw = spool_exit_status(descriptor)
    return raw < 0 ? nil : WaitStatus(raw: raw)
  }

  /// The last field of stat. It is there for a process that is ending, too, but shown to root alone: a server cannot be traced.
  private func statusInProc() -> Int32? {
    // Not another process with the same number.
    var event = pollfd(fd: descriptor, events: 0, revents: 0)
    guard let text = contentsOfSystemFile("/proc/\(process)/stat"), poll(&event, 1, 0) == 0,
      let field = text.split(whereSeparator: \.isWhitespace).last, let raw = Int32(field), raw != 0
    else { return nil }
    return raw
  }

  private static func memoryKills() -> Int? {
    let line = contentsOfSystemFile("/proc/vmstat")?.split(separator: "\n").first { $0.hasPrefix("oom_kill ") }
    return line?.split(separator: " ").last.flatMap { Int($0) }
  }
}
