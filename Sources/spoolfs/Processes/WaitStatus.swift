internal import Glibc

/// What waitpid(2) says of a process.
enum WaitStatus: Equatable, Sendable {
  case exited(Int32)
  case signaled(Int32)
  case stopped(Int32)
  case continued

  /// The macros of <sys/wait.h>, which Swift does not import.
  init(raw: Int32) {
    let low = raw & 0x7f
    if raw == 0xffff {
      self = .continued
    } else if low == 0 {
      self = .exited((raw >> 8) & 0xff)
    } else if low == 0x7f {
      self = .stopped((raw >> 8) & 0xff)
    } else {
      self = .signaled(low)
    }
  }

  /// The exit status by which a shell tells of it: 128+n for signal n.
  var shellStatus: Int32 {
    switch self {
    case .exited(let status): status
    case .signaled(let signal), .stopped(let signal): 128 + signal
    case .continued: 0
    }
  }

  /// Waits until `process`, a child of this one, has ended.
  static func ofEnded(_ process: pid_t) -> WaitStatus {
    var status: Int32 = 0
    while waitpid(process, &status, 0) < 0, errno == EINTR {}
    return WaitStatus(raw: status)
  }
}

extension WaitStatus: CustomStringConvertible {
  var description: String {
    switch self {
    case .exited(let status): "ended with status \(status)"
    case .signaled(let signal): "was ended by signal \(signal)"
    case .stopped(let signal): "was stopped by signal \(signal)"
    case .continued: "was continued"
    }
  }
}
