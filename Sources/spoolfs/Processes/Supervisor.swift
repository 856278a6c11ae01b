internal import Glibc
internal import SystemPackage

/// Runs one program in the terminal as it is and looks after it until it ends.
///
/// The program is in our process group, so that the shell's job control covers both: what the terminal sends (Ctrl-C,
/// Ctrl-\, Ctrl-Z) reaches it without us. What other processes send to us is passed on.
struct Supervisor {
  private let program: pid_t

  /// Starts the program.
  ///
  /// - Parameters:
  ///   - arguments: ends with nil; the first one is looked up in PATH when it has no slash.
  ///   - environment: `NAME=value` strings, ending with nil.
  ///   - signalMask: what the program is to find blocked.
  /// - Throws: what execve(2) failed with.
  init(
    arguments: UnsafePointer<UnsafeMutablePointer<CChar>?>, environment: UnsafePointer<UnsafeMutablePointer<CChar>?>,
    signalMask: SignalSet
  ) throws(Errno) {
    let name = UnsafePointer(arguments[0]!)
    let spawn = Spawn(executable: name, arguments: arguments, environment: environment, signalMask: signalMask)
    do {
      program = try spawn.start()
    } catch {
      guard error == .execFormatError, let file = ExecutableSearch.find(FilePath(platformString: name)) else {
        throw error
      }
      program = try Self.startScript(file, like: spawn)
    }
  }

  /// A script without an interpreter line is run by the shell, as execvp(3) does.
  private static func startScript(_ file: FilePath, like original: Spawn) throws(Errno) -> pid_t {
    var rest: [UnsafePointer<CChar>] = []
    while let argument = original.arguments[rest.count + 1] { rest.append(UnsafePointer(argument)) }
    let fixed = CStrings(["/bin/sh", file])
    let words = CStrings([fixed.first, UnsafePointer(fixed.pointers[1]!)] + rest)
    var spawn = original
    spawn.executable = fixed.first
    spawn.arguments = words.pointers
    return try spawn.start()
  }

  /// Waits until the program has ended.
  func waitUntilEnded() -> WaitStatus {
    while true {
      guard let signal = Signals.next() else { continue }
      if signal.number == SIGCHLD {
        if let end = takeChange() { return end }
      } else if shouldPassOn(signal) {
        kill(program, signal.number)
      }
    }
  }

  /// The terminal's signals have reached the program already, and what it sends to its own group has as well.
  private func shouldPassOn(_ signal: ReceivedSignal) -> Bool {
    if signal.sender == program { return false }
    // The end of a terminal is told to the leader of the session alone, which may be us.
    return !signal.isFromKernel || signal.number == SIGHUP || signal.number == SIGTERM
  }

  /// Takes what there is to know of the program; returns how it ended, if it has.
  private func takeChange() -> WaitStatus? {
    var raw: Int32 = 0
    while waitpid(program, &raw, WNOHANG | WUNTRACED) > 0 {
      let status = WaitStatus(raw: raw)
      guard case .stopped(let signal) = status else { return status }
      // Stopped after the program and not with it: it may need its files on its way to a halt.
      if [SIGTSTP, SIGTTIN, SIGTTOU].contains(signal) || isInForeground() { kill(getpid(), SIGSTOP) }
    }
    return nil
  }

  /// Whether our process group is the one that the terminal serves.
  private func isInForeground() -> Bool {
    guard let terminal = try? FileDescriptor.open("/dev/tty", .readOnly, options: .closeOnExec) else { return false }
    defer { try? terminal.close() }
    return tcgetpgrp(terminal.rawValue) == getpgrp()
  }
}
