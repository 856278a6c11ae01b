internal import ArgumentParser
internal import CSpoolSystem
internal import Glibc

/// The command `spoolfs`: reads its command line and turns every failure into one message and an exit status.
struct SpoolCommand: ParsableCommand {
  static let version = "0.1.0"

  static let configuration = CommandConfiguration(
    commandName: "spoolfs",
    abstract: "A private, throw-away filesystem: files in memory that continue on disk when they outgrow it.",
    discussion: """
      Examples:
        spoolfs run -- make test                a private TMPDIR for a program
        spoolfs run --memory 2g sort big.txt    2 GiB of memory, the rest on disk
        spoolfs mount --size 50% /mnt/scratch   a tree until it is unmounted
        spoolfs status /mnt/scratch             what it holds
        spoolfs unmount /mnt/scratch            all of it is gone

      Exit status (but see 'spoolfs run --help'): 0 done, 64 wrong usage, 66 no such mount point, 69 no /dev/fuse, \
      71 the system refused, 72 no fusermount3, 73 mount point not empty, 75 in use, 77 no permission, 78 unusable \
      spill directory, 1 anything else.
      """,
    version: "spoolfs \(version)",
    subcommands: [
      RunCommand.self, MountCommand.self, UnmountCommand.self, StatusCommand.self, GuardMountCommand.self,
      MountCallCommand.self,
    ])

  /// Runs the command line.
  ///
  /// - Returns: the exit status.
  static func start() -> Int32 {
    Terminal.fillStandardDescriptors()
    // Started anew by way of /proc/self/exe, ps(1) would call us "exe".
    spool_set_process_name("spoolfs")
    if CommandLineBytes.arguments.count < 2 {
      Terminal.writeError(helpMessage() + "\n")
      return CommandFailure.Kind.usage.rawValue
    }
    do {
      var command = try parseAsRoot(CommandLineBytes.strings)
      try command.run()
      return 0
    } catch {
      return report(error)
    }
  }

  private static func report(_ error: any Error) -> Int32 {
    let isRun = CommandLineBytes.strings.first == RunCommand.configuration.commandName
    if let failure = error as? CommandFailure {
      Terminal.note(failure.message)
      return isRun ? RunCommand.ownFailure : failure.kind.rawValue
    }
    // A subcommand that has said what there was to say.
    if let code = error as? ExitCode { return code.rawValue }
    let status = exitCode(for: error).rawValue
    let message = fullMessage(for: error)
    guard status != 0 else {
      print(message)
      return 0
    }
    Terminal.writeError(CommandLineBytes.shown(message) + "\n")
    return isRun ? RunCommand.ownFailure : status
  }
}
