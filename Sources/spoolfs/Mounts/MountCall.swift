internal import ArgumentParser
internal import CSpoolSystem
internal import Glibc
internal import SpoolFS
internal import SystemPackage

/// What is done with a mount that may not answer.
///
/// Whoever waits for a request that the server has taken cannot be interrupted, not even by SIGKILL. So another process
/// does it: this program, started anew. When its time is up it is killed and left alone.
enum MountCall: String, ExpressibleByArgument {
  /// Whether the server lives (statfs(2)).
  case check
  /// The numbers that the mount tells of itself.
  case stats
  /// Who uses it. Mappings of a process that waits for the mount cannot always be read.
  case users
  case unmount
  case detach
  /// Ends the connection to the server.
  case abort

  static let argument = "mount-call"

  /// How a call ended.
  enum Outcome {
    case done([UInt8])
    case failed(CommandFailure, Errno?)
    /// It had not ended when its time was up.
    case noAnswer
  }

  /// How long a server may take for an answer, in milliseconds.
  static let patience = 2000
  /// How long the kernel may take to unmount.
  static let unmountPatience = 10_000
  /// So many processes are started at a time.
  private static let maximumAtOnce = 64

  func run(on mount: MountEntry, within milliseconds: Int = patience) -> Outcome {
    run(on: [mount], within: milliseconds)[0]
  }

  /// Does the same with all mounts at the same time.
  func run(on mounts: [MountEntry], within milliseconds: Int = patience) -> [Outcome] {
    stride(from: 0, to: mounts.count, by: Self.maximumAtOnce).flatMap { start in
      let calls = mounts[start..<min(mounts.count, start + Self.maximumAtOnce)].map { PendingCall(self, on: $0) }
      PendingCall.wait(for: calls, until: .now + .milliseconds(milliseconds))
      return calls.map { $0.finish() }
    }
  }

  // MARK: - In the other process

  /// Does it here, and writes the outcome to `report`.
  func serve(_ mountPoint: FilePath, device: String, report: FileDescriptor) {
    // Programs that this one starts must not keep the pipe open.
    _ = fcntl(report.rawValue, F_SETFD, FD_CLOEXEC)
    chdir("/")
    let message: [UInt8]
    do {
      guard let mount = try MountTable.top(at: mountPoint), mount.device == device else {
        throw CommandFailure(.usage, "\(mountPoint.escaped) is not mounted any more")
      }
      message = [0, 0] + (try perform(on: mount))
    } catch let error as Errno {
      message = Self.message(CommandFailure(.other, error.description), error)
    } catch let error as SpoolFSError {
      message = Self.message(CommandFailure(error), error.errno)
    } catch {
      message = Self.message(error as? CommandFailure ?? CommandFailure(.other, "\(error)"), nil)
    }
    _ = try? report.writeAll(message)
  }

  private func perform(on mount: MountEntry) throws -> [UInt8] {
    switch self {
    case .check:
      if MountPoint.isDead(mount.path) { throw Errno.socketNotConnected }
    case .stats:
      return try readFile(mount.path.pushing(".spoolfs/stats"))
    case .users:
      let users = MountUsers(of: mount, except: [getpid(), getppid()]).find()
      return Array(users.map(\.description).joined(separator: ", ").utf8)
    case .unmount, .detach:
      try MountPoint.unmount(mount.path, lazily: self == .detach)
    case .abort:
      guard let error = MountPoint.abort(mount) else { break }
      throw CommandFailure(.noPermission, "the connection to its server cannot be aborted", error)
    }
    return []
  }

  private static func message(_ failure: CommandFailure, _ error: Errno?) -> [UInt8] {
    [UInt8(failure.kind.rawValue), UInt8(truncatingIfNeeded: error?.rawValue ?? 0)] + Array(failure.message.utf8)
  }
}

/// A call in another process.
private final class PendingCall {
  private static let reportDescriptor: Int32 = 3
  /// What a mount says that is longer makes no sense.
  private static let maximumLength = 1 << 20

  private var process: pid_t = 0
  private var pipe: FileDescriptor?
  private var message: [UInt8] = []
  private var startFailure: Errno?

  init(_ call: MountCall, on mount: MountEntry) {
    do throws(Errno) {
      let pipe = try Pipe()
      defer { try? pipe.writeEnd.close() }
      self.pipe = pipe.readEnd
      let null = try Spawn.openNull()
      defer { try? null.close() }
      let words: [FilePath] = [
        "spoolfs", FilePath(MountCall.argument), FilePath(call.rawValue), FilePath(mount.device), "--", mount.path,
      ]
      process = try Spawn.itself(
        CStrings(words),
        descriptors: (0...2).map { (null.rawValue, $0) } + [(pipe.writeEnd.rawValue, Self.reportDescriptor)])
    } catch {
      startFailure = error
    }
  }

  /// Returns when all have ended, or at the deadline.
  static func wait(for calls: [PendingCall], until deadline: ContinuousClock.Instant) {
    while true {
      let open = calls.filter { $0.pipe != nil }
      let left = deadline - .now
      guard !open.isEmpty, left > .zero else { return }
      var events = open.map { pollfd(fd: $0.pipe!.rawValue, events: Int16(POLLIN), revents: 0) }
      poll(&events, nfds_t(events.count), Int32(left / .milliseconds(1)) + 1)
      for (call, event) in zip(open, events) where event.revents != 0 { call.read() }
    }
  }

  private func read() {
    var buffer = [UInt8](repeating: 0, count: 4096)
    let count = buffer.withUnsafeMutableBytes { (try? pipe?.read(into: $0)) ?? 0 }
    message += buffer[..<count]
    if count == 0 || message.count > Self.maximumLength { closePipe() }
  }

  private func closePipe() {
    try? pipe?.close()
    pipe = nil
  }

  /// The outcome. A process that has not ended is killed, and not waited for: it may be unable to end.
  func finish() -> MountCall.Outcome {
    if let startFailure {
      closePipe()
      return .failed(CommandFailure(.other, "cannot start a process that asks the mount", startFailure), startFailure)
    }
    let hasEnded = pipe == nil
    closePipe()
    if !hasEnded || message.count > Self.maximumLength { kill(process, SIGKILL) }
    for _ in 0..<100 where waitpid(process, nil, WNOHANG) == 0 && hasEnded { usleep(1000) }
    guard hasEnded else { return .noAnswer }
    guard message.count >= 2 else {
      return .failed(CommandFailure(.other, "the process that asks the mount ended too early"), nil)
    }
    if message[0] == 0 { return .done(Array(message[2...])) }
    let kind = CommandFailure.Kind(rawValue: Int32(message[0])) ?? .other
    let error = message[1] == 0 ? nil : Errno(rawValue: Int32(message[1]))
    return .failed(CommandFailure(kind, String(decoding: message[2...], as: UTF8.self)), error)
  }
}

/// The process that does the call; started by this program alone.
struct MountCallCommand: ParsableCommand {
  static let configuration = CommandConfiguration(commandName: MountCall.argument, shouldDisplay: false)

  @Argument var call: MountCall
  @Argument var device: String
  @Argument var mountPoint: String

  func run() throws {
    // Whoever waits for it may be interrupted.
    spool_signal_at_parent_death(SIGKILL)
    call.serve(CommandLineBytes.path(mountPoint), device: device, report: FileDescriptor(rawValue: 3))
  }
}
