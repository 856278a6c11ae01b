internal import CSpoolSystem
internal import Glibc
internal import SpoolFS
internal import SpoolStorage
internal import SystemPackage

/// A small process that outlives this one and clears its mount away should it be killed.
///
/// It waits for the end of a pipe whose other end this process holds, so it learns of a death by SIGKILL as well. It has
/// a session of its own, so what is sent to the terminal's or the job's processes does not reach it.
///
/// A killed server may be unable to end: one of its threads can wait in the kernel for the write-back of dirty pages,
/// and no other thread is left that could take them. Its descriptors then stay open, so nobody ends the connection and
/// every user of the mount waits. The guardian learns of that from the signal at the death of the thread that started
/// it, and aborts the connection.
struct Guardian {
  static let argument = "guard-mount"
  private static let goodbye = UInt8(ascii: "q")
  /// Sent by the kernel when the thread that started the guardian has ended.
  private static let parentDeath = SIGUSR1
  /// How long a killed process may take to end, in milliseconds: it gives all its memory back.
  private static let patience = 2000

  private let pipe: FileDescriptor
  private let process: pid_t

  /// Starts a guardian for a mount at `mountPoint`; `directory` is the private directory to be removed with it.
  init(of mountPoint: FilePath, directory: FilePath?) throws(CommandFailure) {
    do {
      let pipe = try Pipe()
      let null = try Spawn.openNull()
      defer { try? null.close() }
      let words: [FilePath] = ["spoolfs", FilePath(Self.argument), mountPoint] + (directory.map { [$0] } ?? [])
      process = try Spawn.itself(
        CStrings(words), descriptors: (0...2).map { (null.rawValue, $0) } + [(pipe.readEnd.rawValue, 3)])
      try? pipe.readEnd.close()
      self.pipe = pipe.writeEnd
    } catch {
      throw CommandFailure(.other, "cannot start the process that would clear up after us", error)
    }
  }

  /// Tells the guardian which filesystem is ours, by its device: should another one be mounted at the
  /// same place later, it is left alone.
  func watch(_ mount: MountEntry) {
    send(Array(Self.device(mount).utf8))
  }

  /// Sends the guardian away: everything is cleared up.
  func dismiss() {
    send([Self.goodbye])
    try? pipe.close()
    _ = WaitStatus.ofEnded(process)
  }

  private func send(_ bytes: [UInt8]) {
    // A guardian that was killed is no reason to fail: SIGPIPE is blocked and the error of no use.
    _ = try? pipe.writeAll(bytes)
  }

  /// The guardian's own life: waits on descriptor 3 until the other process is gone, then clears up unless that was done.
  ///
  /// - Throws: what reading the descriptor fails with.
  static func keepWatch(over mountPoint: FilePath, directory: FilePath?) throws {
    Signals.block(SignalSet([parentDeath]))
    spool_signal_at_parent_death(parentDeath)
    let message = Message()
    // Without that thread only a server that cannot end is left alone.
    try? SystemThread.start(named: "spoolfs/abort") {
      while Signals.next(of: SignalSet([parentDeath])) == nil {}
      // This process ends when the pipe does, and this thread with it.
      usleep(UInt32(patience) * 1000)
      guard let mount = message.mount(at: mountPoint) else { return }
      MountPoint.abort(mount)
      try? MountPoint.unmount(mountPoint, lazily: true)
    }
    try message.readToEnd(of: FileDescriptor(rawValue: 3))
    guard !message.isGoodbye else { return }
    if let directory {
      PrivateDirectory.reclaim(directory, ownerIsEnding: true)
    } else if message.mount(at: mountPoint) != nil {
      try? MountPoint.unmount(mountPoint, lazily: true)
    }
  }

  private static func device(_ mount: MountEntry) -> String { "\(mount.major):\(mount.minor)" }

  /// What the server has told so far: the device of its filesystem, and in the end that everything is cleared up.
  private final class Message: @unchecked Sendable {
    // @unchecked: `lock` protects the variable.
    private let lock = Lock()
    private var bytes: [UInt8] = []

    func readToEnd(of pipe: FileDescriptor) throws {
      var buffer = [UInt8](repeating: 0, count: 64)
      while true {
        let count = try buffer.withUnsafeMutableBytes { try pipe.read(into: $0) }
        if count == 0 { return }
        lock.withLock { bytes += buffer[..<count] }
      }
    }

    var isGoodbye: Bool { lock.withLock { bytes.last == goodbye } }

    /// The server's mount at `mountPoint`; nil where there is none, or another one by now.
    func mount(at mountPoint: FilePath) -> MountEntry? {
      guard let mount = try? MountTable.top(at: mountPoint), mount.isSpoolFS,
        lock.withLock({ bytes.elementsEqual(device(mount).utf8) })
      else { return nil }
      return mount
    }
  }
}
