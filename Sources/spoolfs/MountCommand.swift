internal import ArgumentParser
internal import Glibc
internal import Logging
internal import SpoolFS
internal import SpoolStorage
internal import SystemPackage

/// `spoolfs mount`: a tree that stays until it is unmounted.
struct MountCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "mount",
    abstract: "Mount a fresh tree on a directory.",
    usage: "spoolfs mount [OPTIONS] DIR",
    discussion: """
      Returns as soon as the mount is usable and serves it in the background until it is unmounted. SIGINT, SIGTERM and \
      SIGHUP unmount it as well; programs that still use it then lose their files.

      Examples:
        spoolfs mount /mnt/scratch
        spoolfs mount --size 50% --spill-dir /data/spill --allow-other /mnt/scratch
        spoolfs mount -f -o size=8g,mode=1777,noexec /mnt/scratch

      In fstab, with a link to spoolfs named /sbin/mount.spoolfs (root's mounts are then suid,dev unless told otherwise):
        none  /mnt/scratch  spoolfs  size=50%,spill_dir=/data/spill,allow_other  0 0
      """)

  @OptionGroup var tree: TreeOptions

  @Flag(name: [.customShort("f"), .long], help: "Stay in the foreground.")
  var foreground = false

  @Flag(help: "Mount even if the directory is not empty.")
  var nonempty = false

  @Option(help: .hidden)
  var reportDescriptor: Int32?

  /// Says what is wrong with the options, and mounts nothing: mount(8)'s `-f`.
  @Flag(help: .hidden)
  var fake = false

  /// The mount namespace to mount in: mount(8)'s `-N`, which leaves entering it to its helpers.
  @Option(help: .hidden)
  var namespace: String?

  @Argument(help: ArgumentHelp("The directory to mount on.", valueName: "dir"))
  var directory: String

  func run() throws {
    if fake { return }
    try Preconditions.checkProc()
    // The process in the background is born in it.
    if let namespace, reportDescriptor == nil { try MountNamespace.enter(CommandLineBytes.path(namespace)) }
    guard foreground || reportDescriptor != nil else {
      return try Background.start(addingOption: "report-descriptor")
    }
    let report = reportDescriptor.map { ReadinessReport(descriptor: FileDescriptor(rawValue: $0)) }
    do {
      try serve(report)
    } catch let failure as CommandFailure where report != nil {
      report?.failed(failure)
      throw ExitCode(failure.kind.rawValue)
    }
  }

  private func serve(_ report: ReadinessReport?) throws {
    var settings = try tree.settings()
    settings.nonEmpty = settings.nonEmpty || nonempty
    settings.spillDirectory = settings.spillDirectory.map(MountDirectory.absolute)
    _ = Signals.blockAll()
    PrivateDirectory.reclaimStale()
    let mountPoint = try MountDirectory.resolve(CommandLineBytes.path(directory))
    try MountDirectory.prepare(mountPoint, nonEmpty: settings.nonEmpty)
    try Preconditions.check(settings)
    // Not to keep the user's directory, which may be below the mount point, busy.
    chdir("/")
    let guardian = try Guardian(of: mountPoint)
    defer { guardian.dismiss() }
    let server = try Server(settings, at: mountPoint)
    guardian.watch(server.entry)
    let isInBackground = report != nil
    LoggingSystem.bootstrap { _ in CommandLogHandler(usesSystemLog: isInBackground) }
    try Self.signalEnd(of: server)
    do {
      try report?.ready()
    } catch {
      // Nobody waits for this mount any more.
      try? server.unmount(lazily: true)
      throw ExitCode(CommandFailure.Kind.other.rawValue)
    }
    // Most kernels have it switched off: only who asked for it is told on the terminal.
    if let obstacle = server.ringObstacle {
      Logger(label: "spoolfs").log(level: settings.transport == .auto ? .info : .debug, "\(obstacle)")
    }
    Self.waitForEnd(of: server)
  }

  /// Has this process sent SIGUSR1 when the tree is unmounted, by whomever.
  private static func signalEnd(of server: Server) throws(CommandFailure) {
    do throws(Errno) {
      try SystemThread.start(named: "spoolfs/end") {
        server.waitUntilUnmounted()
        kill(getpid(), SIGUSR1)
      }
    } catch {
      try? server.unmount(lazily: true)
      throw CommandFailure(.system, "cannot start the thread that waits for the unmount", error)
    }
  }

  /// Returns when the tree is unmounted, or this process was asked to end; then the tree is detached from whoever still uses
  /// it, and they lose their files.
  private static func waitForEnd(of server: Server) {
    while true {
      guard let signal = Signals.next(of: SignalSet([SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1])) else { continue }
      guard signal.number == SIGUSR1 else { return end(server) }
      if signal.sender == getpid() { return }
    }
  }

  private static func end(_ server: Server) {
    do {
      try server.unmount(lazily: false)
    } catch {
      let users = MountUsers(of: server.entry).find().map(\.description).joined(separator: ", ")
      let suffix = users.isEmpty ? "" : " by \(users)"
      Logger(label: "spoolfs").warning("ended while \(server.entry.path.escaped) was in use\(suffix)")
      try? server.unmount(lazily: true)
    }
  }
}
