internal import CSpoolSystem
internal import Glibc

/// A set of signals.
struct SignalSet: @unchecked Sendable {  // sigset_t is plain bits.
  var raw: sigset_t

  init(_ signals: [Int32] = []) {
    raw = sigset_t()
    sigemptyset(&raw)
    for signal in signals { sigaddset(&raw, signal) }
  }

  /// Every signal but those by which the kernel tells a thread of its own fault, and those that nobody can block.
  static var blockable: SignalSet {
    let faults = [SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS, SIGKILL, SIGSTOP]
    return SignalSet((1...spool_last_signal()).filter { !faults.contains($0) })
  }
}

/// A signal that was taken from the queue of pending ones.
struct ReceivedSignal: Sendable {
  var number: Int32
  /// Sent by the kernel: by the terminal to all of its foreground processes, or because of a child.
  var isFromKernel: Bool
  /// The process that sent it, if one did.
  var sender: pid_t
}

/// Signals are blocked in every thread and waited for: no handler ever runs, so none can interrupt a system call or
/// find a lock taken, and what was ignored when the program started stays ignored for the programs it starts.
enum Signals {
  /// Blocks all signals in this thread and in those that it starts from now on.
  ///
  /// - Returns: what was blocked before, for the programs that are started.
  static func blockAll() -> SignalSet {
    // If the caller ignores SIGCHLD, the kernel would throw away the exit status of our children.
    signal(SIGCHLD, SIG_DFL)
    var blocked = SignalSet.blockable.raw
    var previous = SignalSet()
    pthread_sigmask(SIG_BLOCK, &blocked, &previous.raw)
    return previous
  }

  /// Blocks the signals of `set` in this thread and in those that it starts from now on.
  static func block(_ set: SignalSet) {
    var blocked = set.raw
    pthread_sigmask(SIG_BLOCK, &blocked, nil)
  }

  /// Takes the next signal of `set`, which must be blocked; nil when none comes within `milliseconds`.
  static func next(of set: SignalSet = .blockable, within milliseconds: Int? = nil) -> ReceivedSignal? {
    var set = set.raw
    var info = siginfo_t()
    while true {
      let number: Int32
      if let milliseconds {
        var timeout = timespec(tv_sec: milliseconds / 1000, tv_nsec: milliseconds % 1000 * 1_000_000)
        number = sigtimedwait(&set, &info, &timeout)
        // A wait that was interrupted begins anew at its caller.
        if number < 0 { return nil }
      } else {
        number = sigwaitinfo(&set, &info)
        if number < 0 { continue }
      }
      let isFromProcess = info.si_code <= 0
      return ReceivedSignal(
        number: number, isFromKernel: !isFromProcess, sender: isFromProcess ? info._sifields._kill.si_pid : 0)
    }
  }
}
