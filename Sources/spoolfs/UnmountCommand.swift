internal import ArgumentParser
internal import SpoolFS
internal import SystemPackage

/// `spoolfs unmount`: ends a mount, and everything in it is gone.
struct UnmountCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "unmount",
    abstract: "Unmount a tree; everything in it is gone.",
    usage: "spoolfs unmount [--lazy] DIR",
    discussion: """
      Returns when the process that served the tree has ended, so that its memory and disk space are free again.

      Examples:
        spoolfs unmount /mnt/scratch
        spoolfs unmount --lazy /mnt/scratch
      """,
    aliases: ["umount"])

  @Flag(name: [.short, .long], help: "Detach the tree even if it is in use; it ends when nothing uses it any more.")
  var lazy = false

  @Argument(help: ArgumentHelp("The directory it is mounted on.", valueName: "dir"))
  var directory: String

  func run() throws {
    try Preconditions.checkProc()
    let mount = try OwnMount.at(CommandLineBytes.path(directory))
    let server = ServerProcess(of: mount.path)
    do {
      try MountPoint.unmount(mount.path, lazily: lazy)
    } catch {
      throw error.code == .busy ? CommandFailure(.busy, Self.busyMessage(mount)) : CommandFailure(error)
    }
    if !lazy { server?.waitUntilEnded() }
  }

  private static func busyMessage(_ mount: MountEntry) -> String {
    let users = MountUsers(of: mount).find().map(\.description).joined(separator: ", ")
    let who = users.isEmpty ? "by processes that cannot be seen from here" : "by \(users)"
    return "\(mount.path) is in use \(who); --lazy detaches it nevertheless"
  }
}
