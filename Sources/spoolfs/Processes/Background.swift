internal import Glibc
internal import SystemPackage

/// Going to the background: the program is started anew in a session of its own and tells through a pipe when its
/// mount is usable, or why it never will be.
enum Background {
  private static let reportDescriptor: Int32 = 3

  /// Starts the program anew with the same command line, told by `option` which descriptor to report on.
  ///
  /// - Throws: what the other process failed with.
  static func start(addingOption option: String) throws(CommandFailure) {
    let report: [UInt8]
    let process: pid_t
    do {
      let pipe = try Pipe()
      let null = try Spawn.openNull()
      let own = CommandLineBytes.arguments
      let added = CStrings([FilePath("--\(option)=\(reportDescriptor)")])
      let arguments = CStrings(own.prefix(2) + [added.first] + own.dropFirst(2))
      process = try Spawn.itself(
        arguments, descriptors: [(null.rawValue, 0), (pipe.writeEnd.rawValue, reportDescriptor)])
      try? pipe.writeEnd.close()
      report = (try? pipe.readEnd.readToEnd()) ?? []
    } catch {
      throw CommandFailure(.other, "cannot start the process that serves the mount", error)
    }
    guard let status = report.first else {
      throw CommandFailure(.other, "the process that serves the mount \(WaitStatus.ofEnded(process)) too early")
    }
    guard status == 0 else {
      _ = WaitStatus.ofEnded(process)
      let kind = CommandFailure.Kind(rawValue: Int32(status)) ?? .other
      throw CommandFailure(kind, String(decoding: report.dropFirst(), as: UTF8.self))
    }
  }
}

/// The end of the pipe on which a background process reports.
struct ReadinessReport {
  let descriptor: FileDescriptor

  /// Tells that the mount is usable and lets go of the terminal.
  ///
  /// - Throws: when whoever started us is gone.
  func ready() throws {
    try descriptor.writeAll([0])
    let null = try Spawn.openNull()
    for number in STDOUT_FILENO...STDERR_FILENO { dup2(null.rawValue, number) }
    try null.close()
    try descriptor.close()
  }

  /// Tells what went wrong.
  func failed(_ failure: CommandFailure) {
    _ = try? descriptor.writeAll([UInt8(failure.kind.rawValue)] + Array(failure.message.utf8))
    try? descriptor.close()
  }
}
