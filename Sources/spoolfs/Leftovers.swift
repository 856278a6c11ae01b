internal import ArgumentParser
internal import Glibc

/// What to do with processes that still use the tree when the program has ended.
enum LeftoverPolicy: String, CaseIterable, ExpressibleByArgument, Sendable {
  case wait
  case kill
  case lazy
}

/// Unmounts the tree of `run` and deals with what still uses it.
struct Leftovers {
  private static let interrupts = SignalSet([SIGINT, SIGTERM, SIGHUP, SIGQUIT])
  /// How long programs have to end after SIGTERM, in milliseconds, and how long the kernel has after SIGKILL.
  private static let grace = 2000

  private let server: Server
  private let policy: LeftoverPolicy
  private let users: MountUsers

  init(of server: Server, policy: LeftoverPolicy) {
    self.server = server
    self.policy = policy
    users = MountUsers(of: server.entry)
  }

  /// Returns when the tree is unmounted or, where the policy or an interrupt says so, detached.
  func unmount() {
    // What was sent while the program ran was meant for the program.
    while Signals.next(within: 0) != nil {}
    guard !tryToUnmount() else { return }
    switch policy {
    case .wait: waitForUsers()
    case .kill: endUsers()
    case .lazy: detach()
    }
  }

  /// False: the tree is in use. Any other failure is told; waiting would not help.
  private func tryToUnmount() -> Bool {
    do {
      try server.unmount(lazily: false)
    } catch {
      if error.kind == .busy { return false }
      Terminal.note(error.message)
      try? server.unmount(lazily: true)
    }
    return true
  }

  /// Tries again and again, ever less often, for at most `limit` milliseconds. False: interrupted, or time is up.
  private func keepTrying(for limit: Int, from start: Int = 5) -> Bool {
    var (waited, pause) = (0, start)
    while waited < limit {
      if Signals.next(of: Self.interrupts, within: pause) != nil { return false }
      if tryToUnmount() { return true }
      waited += pause
      pause = min(pause * 2, Self.longestPause)
    }
    return false
  }

  /// A user's attempt to unmount starts a program, root's is one system call.
  private static var longestPause: Int { geteuid() == 0 ? 100 : 500 }

  private func waitForUsers() {
    // A program that was just ending is no news.
    guard !keepTrying(for: 1000) else { return }
    Terminal.note("waiting for programs that still use the temporary directory: \(names()); interrupt to detach it")
    if !keepTrying(for: .max, from: Self.longestPause) { detach() }
  }

  private func endUsers() {
    // The last round is for those that only a search without the others finds: they have a mapping and nothing else.
    for signal in [SIGTERM, SIGKILL, SIGKILL] {
      for user in users.find() { kill(user.process, signal) }
      if keepTrying(for: Self.grace) { return }
    }
    detach()
  }

  private func detach() {
    Terminal.note("detached the temporary directory from programs that still use it: \(names())")
    try? server.unmount(lazily: true)
  }

  private func names() -> String {
    let names = users.find().map(\.description)
    return names.isEmpty ? "none that can be seen" : names.joined(separator: ", ")
  }
}
