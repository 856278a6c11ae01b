internal import ArgumentParser
internal import SpoolFS
internal import SystemPackage

/// `spoolfs unmount`: ends a mount, and everything in it is gone.
struct UnmountCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "unmount",
    abstract: "Unmount a tree; everything in it is gone.",
    usage: "spoolfs unmount [--lazy | --force] DIR",
    discussion: """
      Returns when the process that served the tree has ended, so that its memory and disk space are free again. If it \
      does not end within five seconds, a message tells what it waits for, and the exit status is 75.

      Examples:
        spoolfs unmount /mnt/scratch
        spoolfs unmount --lazy /mnt/scratch
        spoolfs unmount --force /mnt/scratch
      """,
    aliases: ["umount"])

  /// How long the server may take to end, in milliseconds: it gives all its memory back.
  private static let patience = 5000
  /// The same for one that has lost its connection, before it is killed.
  private static let patienceBeforeKill = 2000

  @Flag(name: [.short, .long], help: "Detach the tree even if it is in use; it ends when nothing uses it any more.")
  var lazy = false

  @Flag(
    name: [.short, .long],
    help: """
      End the tree whatever uses it and whether or not its server answers: aborts the connection, detaches the tree, and \
      kills the server if it goes on.
      """)
  var force = false

  @Argument(help: ArgumentHelp("The directory it is mounted on.", valueName: "dir"))
  var directory: String

  func validate() throws {
    if lazy && force { throw ValidationError("--lazy and --force exclude each other") }
  }

  func run() throws {
    try Preconditions.checkProc()
    let mount = try OwnMount.at(CommandLineBytes.path(directory))
    let server = ServerProcess(of: mount)
    defer { server?.close() }
    let copies = MountCopy.all(of: mount)
    if force { return try Self.end(mount, server, copies) }
    switch (lazy ? MountCall.detach : .unmount).run(on: mount, within: MountCall.unmountPatience) {
    case .done: break
    case .failed(let failure, _): throw failure.kind == .busy ? Self.busy(mount, server) : failure
    case .noAnswer:
      let server = server?.description ?? "its server cannot be found"
      throw CommandFailure(
        .busy, "\(mount.path.escaped) cannot be unmounted now: the kernel waits, \(server); --force ends it")
    }
    if !lazy { try Self.waitForEnd(of: server, mount, copies) }
  }

  private static func busy(_ mount: MountEntry, _ server: ServerProcess?) -> CommandFailure {
    var users = ""
    if case .done(let text) = MountCall.users.run(on: mount) { users = String(decoding: text, as: UTF8.self) }
    let who = users.isEmpty ? "by processes that cannot be seen from here" : "by \(users)"
    let hint =
      if let server, server.stop != nil { "\(server.description); --force ends it" } else {
        "--lazy detaches it nevertheless"
      }
    return CommandFailure(.busy, "\(mount.path.escaped) is in use \(who); \(hint)")
  }

  /// - Throws: what the server waits for, if it goes on.
  private static func waitForEnd(
    of server: ServerProcess?, _ mount: MountEntry, _ copies: [MountCopy]
  ) throws(CommandFailure) {
    if let server, server.ends(within: patience) { return }
    let copies = MountCopy.remaining(of: copies, of: mount).map(\.description)
    guard let server else {
      if copies.isEmpty { return }
      throw CommandFailure(
        .busy,
        """
        \(mount.path.escaped) is unmounted, but its server goes on and holds memory and disk space: \
        \(copies.joined(separator: "; "))
        """)
    }
    let stop = server.stop.map { ["it \($0)"] } ?? []
    let reasons = copies + stop
    throw CommandFailure(
      .busy,
      """
      \(mount.path.escaped) is unmounted, but its server, process \(server.process), goes on and holds memory and disk \
      space: \(reasons.isEmpty ? "nothing tells why" : reasons.joined(separator: "; "))
      """)
  }

  /// Aborts the connection, detaches the mount, and kills the server if it goes on.
  ///
  /// - Throws: what could not be done, if there is still a mount or a server then.
  private static func end(
    _ mount: MountEntry, _ server: ServerProcess?, _ copies: [MountCopy]
  ) throws(CommandFailure) {
    var problems: [String] = []
    for call in [MountCall.abort, .detach] {
      switch call.run(on: mount) {
      case .done: break
      case .failed(let failure, _): problems.append(failure.message)
      case .noAnswer: problems.append("the kernel takes too long to \(call == .abort ? "abort" : "detach") it")
      }
    }
    if let server, !server.ends(within: patienceBeforeKill) {
      do throws(Errno) { try server.end() } catch {
        problems.append("process \(server.process), its server, cannot be killed: \(error)")
      }
      if !server.ends(within: patience) { problems.append("\(server.description) and does not end") }
    }
    let isGone = !((try? MountTable.entries()) ?? []).contains { $0.id == mount.id && $0.isSameDevice(as: mount) }
    let hasEnded = server?.ends(within: 0) ?? problems.isEmpty
    guard isGone, hasEnded else {
      throw CommandFailure(.busy, "\(mount.path.escaped): \(problems.joined(separator: "; "))")
    }
    let copies = MountCopy.remaining(of: copies, of: mount).map(\.description)
    if !copies.isEmpty { Terminal.note("dead mounts stay: \(copies.joined(separator: "; "))") }
  }
}
