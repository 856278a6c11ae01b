internal import ArgumentParser
internal import SystemPackage

/// The guardian's process; started by `run` and `mount` alone.
struct GuardMountCommand: ParsableCommand {
  static let configuration = CommandConfiguration(commandName: Guardian.argument, shouldDisplay: false)

  @Argument var mountPoint: String
  @Argument var directory: String?
  @Flag(name: .customLong(Guardian.sharedFlag)) var isInSharedDirectory = false

  func run() throws {
    let directory = directory.map { CommandLineBytes.path($0) }
    try GuardianProcess(
      of: CommandLineBytes.path(mountPoint), directory: directory, isInSharedDirectory: isInSharedDirectory
    ).run()
  }
}
