internal import ArgumentParser
internal import Glibc
internal import Logging
internal import SpoolFS
internal import SpoolStorage
internal import SystemPackage

/// `spoolfs run`: one program with a private TMPDIR.
struct RunCommand: ParsableCommand {
  /// The exit status for failures of our own, as with env(1) and timeout(1).
  static let ownFailure: Int32 = 125
  private static let notExecutable: Int32 = 126
  private static let notFound: Int32 = 127

  static let configuration = CommandConfiguration(
    commandName: "run",
    abstract: "Run a program with a private TMPDIR that cleans itself up.",
    usage: "spoolfs run [OPTIONS] [--] PROGRAM [ARGS …]",
    discussion: """
      Mounts a fresh tree at a short private path, sets TMPDIR, TMP and TEMP to it, runs PROGRAM with the terminal as it \
      is, and unmounts when it ends. Options before PROGRAM are ours, everything from PROGRAM on is its own.

      Examples:
        spoolfs run -- make test
        spoolfs run --threshold 4m --memory 512m -- sort -S 1M big.txt
        spoolfs run --leftover kill -- ./integration-tests
        spoolfs run -o size=50%,nr_inodes=1m bash

      Exit status: that of PROGRAM, 128+n if signal n ended it, 127 if it was not found, 126 if it cannot be executed, \
      125 if spoolfs itself failed, or the tree was taken away while PROGRAM ran.
      """)

  @OptionGroup var tree: TreeOptions

  @Option(
    help: """
      What to do when PROGRAM has ended and others still use the tree: 'wait' until they are done (Ctrl-C: as lazy), \
      'kill' them (SIGTERM, two seconds later SIGKILL), or 'lazy': end at once, so that they lose their files.
      """)
  var leftover: LeftoverPolicy = .wait

  @Argument(parsing: .captureForPassthrough, help: ArgumentHelp("The program and its arguments.", valueName: "program"))
  var program: [String] = []

  mutating func validate() throws {
    if program.first == "--" {
      program.removeFirst()
    } else if let first = program.first, first.hasPrefix("-") {
      // Whatever is left over would be the program's; but a program's name does not start with a dash.
      if first == "--help" || first == "-h" { throw CleanExit.helpRequest(self) }
      throw ValidationError("Unknown option '\(first)'")
    }
    guard !program.isEmpty else {
      throw ValidationError("Missing PROGRAM: spoolfs run [OPTIONS] [--] PROGRAM [ARGS …]")
    }
  }

  func run() throws {
    let settings = try tree.settings()
    let signalMask = Signals.blockAll()
    PrivateDirectory.reclaimStale()
    try Preconditions.check(settings)
    let directory = try PrivateDirectory(openToOthers: settings.allowOther)
    let guardian: Guardian
    do {
      guardian = try Guardian(of: directory.mountPoint, directory: directory)
    } catch {
      try? directory.clear()
      try? directory.remove()
      throw error
    }
    defer { Self.end(directory, guardian) }
    LoggingSystem.bootstrap { _ in CommandLogHandler(usesSystemLog: false) }
    let server = try Server(settings, at: directory.mountPoint)
    guardian.watch(server.entry)
    directory.sealMountPoint()
    if settings.transport == .auto, let obstacle = server.ringObstacle { Terminal.note(obstacle) }
    let status = runProgram(temporary: directory.mountPoint, signalMask: signalMask)
    let loss = server.loss
    if let loss {
      Terminal.note(
        "\(server.entry.path), the temporary directory of '\(CommandLineBytes.shown(program[0]))', \(loss) while it ran"
      )
    }
    Leftovers(of: server, policy: leftover).unmount()
    throw ExitCode(loss == nil ? status : Self.ownFailure)
  }

  /// Removes the private directory. Where others could take its name, that is left to the guardian: programs may have it.
  private static func end(_ directory: PrivateDirectory, _ guardian: Guardian) {
    do throws(Errno) {
      try directory.clear()
      if directory.isInSharedDirectory {
        try? directory.lock.close()
        return guardian.leaveName()
      }
      try directory.remove()
    } catch {
      Terminal.note("cannot remove \(directory.path), which the next run tries again: \(error.description)")
    }
    guardian.dismiss()
  }

  /// Runs the program to its end.
  ///
  /// - Returns: the exit status that tells how it ended, or why it was not started.
  private func runProgram(temporary: FilePath, signalMask: SignalSet) -> Int32 {
    // The arguments as bytes: the last ones of the command line.
    let arguments = CStrings(Array(CommandLineBytes.arguments.suffix(program.count)))
    let environment = CStrings(Environment.inherited(overriding: ["TMPDIR", "TMP", "TEMP"], with: temporary))
    do {
      let supervisor = try DescriptorLimit.withOriginal { () throws(Errno) in
        try Supervisor(arguments: arguments.pointers, environment: environment.pointers, signalMask: signalMask)
      }
      return supervisor.waitUntilEnded().shellStatus
    } catch {
      Terminal.note("cannot run '\(CommandLineBytes.escaped(program[0]))': \(error.description)")
      return Self.status(of: error)
    }
  }

  private static func status(of error: Errno) -> Int32 {
    switch error {
    case .noSuchFileOrDirectory: notFound
    // Too many processes, too little memory: none of the program's faults.
    case .resourceTemporarilyUnavailable, .noMemory, .tooManyOpenFiles: ownFailure
    default: notExecutable
    }
  }
}
