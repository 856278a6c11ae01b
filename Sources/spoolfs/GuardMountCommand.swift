internal import ArgumentParser
internal import SystemPackage

/// The guardian's process; started by `run` and `mount` alone.
struct GuardMountCommand: ParsableCommand {
  static let configuration = CommandConfiguration(commandName: Guardian.argument, shouldDisplay: false)

  @Argument var mountPoint: String
  @Argument var directory: String?

  func run() throws {
    try Guardian.keepWatch(
      over: CommandLineBytes.path(mountPoint), directory: directory.map { CommandLineBytes.path($0) })
  }
}
