internal import Glibc
internal import SpoolFS
internal import SystemPackage

/// A small process that outlives this one and clears its mount away should it be killed.
///
/// It waits for the end of a pipe whose other end this process holds, so it learns of a death by SIGKILL as well. It has
/// a session of its own, so what is sent to the terminal's or the job's processes does not reach it. What it does is in
/// `GuardianProcess`.
struct Guardian {
  static let argument = "guard-mount"
  static let sharedFlag = "in-shared-directory"
  /// How long it may take to find out whether a path is in use, in milliseconds.
  private static let patience: Int32 = 3000

  /// What the guardian has under which number, besides /dev/null.
  enum Descriptor {
    /// Open until the guardian has done what it was asked for, or begins to wait.
    static let answer: Int32 = 1
    /// Of `run`: its stderr.
    static let errors: Int32 = 2
    static let pipe: Int32 = 3
    /// Of `run`: the private directory, with its lock.
    static let directory: Int32 = 4
  }

  /// The last byte of what it is told; without one the server has died.
  enum Farewell: UInt8 {
    /// Everything is cleared up.
    case done = 0x71
    /// All but the name of the private directory, which must not become somebody else's while a process has it.
    case keepName = 0x6b
  }

  private let pipe: FileDescriptor
  private let answer: FileDescriptor
  private let process: pid_t

  /// Starts a guardian for a mount at `mountPoint`; `directory` is the private directory to be removed with it.
  init(of mountPoint: FilePath, directory: PrivateDirectory? = nil) throws(CommandFailure) {
    do {
      let (pipe, answer) = (try Pipe(), try Pipe())
      let null = try Spawn.openNull()
      defer { try? null.close() }
      var words: [FilePath] = ["spoolfs", FilePath(Self.argument), mountPoint]
      var descriptors = [
        (null.rawValue, 0), (answer.writeEnd.rawValue, Descriptor.answer), (pipe.readEnd.rawValue, Descriptor.pipe),
        (directory == nil ? null.rawValue : STDERR_FILENO, Descriptor.errors),
      ]
      if let directory {
        words.append(directory.path)
        if directory.isInSharedDirectory { words.append(FilePath("--" + Self.sharedFlag)) }
        descriptors.append((directory.lock.rawValue, Descriptor.directory))
      }
      process = try Spawn.itself(CStrings(words), descriptors: descriptors)
      try? pipe.readEnd.close()
      try? answer.writeEnd.close()
      self.pipe = pipe.writeEnd
      self.answer = answer.readEnd
    } catch {
      throw CommandFailure(.other, "cannot start the process that would clear up after us", error)
    }
  }

  /// Tells the guardian which filesystem is ours, by its device: should another one be mounted at the
  /// same place later, it is left alone.
  func watch(_ mount: MountEntry) {
    send(Array(mount.device.utf8))
  }

  /// Sends the guardian away: everything is cleared up.
  func dismiss() {
    send([Farewell.done.rawValue])
    try? pipe.close()
    _ = WaitStatus.ofEnded(process)
  }

  /// Has the guardian remove the cleared private directory when no process has its path. Returns when it has, or waits for
  /// that and holds nothing else.
  func leaveName() {
    send([Farewell.keepName.rawValue])
    try? pipe.close()
    var event = pollfd(fd: answer.rawValue, events: 0, revents: 0)
    while poll(&event, 1, Self.patience) < 0, errno == EINTR {}
  }

  private func send(_ bytes: [UInt8]) {
    // A guardian that was killed is no reason to fail: SIGPIPE is blocked and the error of no use.
    _ = try? pipe.writeAll(bytes)
  }
}
