internal import Glibc
internal import SpoolStorage
internal import SystemPackage

/// What a process has made under a name and not yet removed. What is still here at exit(3) is removed then, as Python
/// does when the interpreter ends.
///
/// A process that ends in another way leaves it: _exit(2), abort(3), a signal that is not handled, SIGKILL, exec(2).
/// A process forked from ours starts with an empty registry, so it removes nothing of its parent's.
enum ExitCleanup {
  /// Something to remove at exit.
  struct Entry: Sendable {
    /// Absolute, since the working directory may be another at exit.
    private let path: FilePath
    /// Of a directory; anything else that has taken its name stays. nil for a file.
    private let identity: FileIdentity?

    static func file(_ path: FilePath) -> Entry { Entry(path: path, identity: nil) }

    static func directory(_ path: FilePath, _ identity: FileIdentity) -> Entry { Entry(path: path, identity: identity) }

    /// Removes it.
    func remove() {
      if let identity {
        _ = try? TreeRemoval.remove(path, identity)
      } else {
        path.withPlatformString { _ = unlink($0) }
      }
    }
  }

  /// A registration.
  struct Token: Sendable {
    fileprivate let slot: Int
    fileprivate let process: UInt
  }

  private static let registry = Registry()

  /// Has `entry` removed at exit, unless ``unregister(_:)`` comes first.
  ///
  /// - Complexity: O(1), some tens of nanoseconds.
  static func register(_ entry: Entry) -> Token { registry.add(entry) }

  /// Leaves the entry alone at exit. In a process forked from the one that registered it, it does nothing.
  ///
  /// - Complexity: O(1).
  static func unregister(_ token: Token) { registry.remove(token) }

  /// Whether this process, and not one that it was forked from, registered it.
  static func isOwn(_ token: Token) -> Bool { registry.isOwn(token) }

  /// Removes everything that is registered.
  static func run() { registry.drain() }

  private final class Registry: @unchecked Sendable {  // all state is behind `lock`
    private let lock = Lock()
    private var entries: [Entry?] = []
    private var free: [Int] = []
    /// How many forks lie between this process and the one that loaded the library.
    private var process: UInt = 0

    init() {
      atexit { ExitCleanup.run() }
      // The lock must not be copied while another thread, which the child does not have, holds it.
      pthread_atfork(
        { ExitCleanup.registry.lock.lock() }, { ExitCleanup.registry.lock.unlock() }, { ExitCleanup.registry.forget() })
    }

    func add(_ entry: Entry) -> Token {
      lock.withLock {
        if let slot = free.popLast() {
          entries[slot] = entry
          return Token(slot: slot, process: process)
        }
        entries.append(entry)
        return Token(slot: entries.count - 1, process: process)
      }
    }

    func remove(_ token: Token) {
      // The path is released outside of the lock.
      _ = lock.withLock { () -> Entry? in
        guard token.process == process, token.slot < entries.count, let entry = entries[token.slot] else { return nil }
        entries[token.slot] = nil
        free.append(token.slot)
        return entry
      }
    }

    func isOwn(_ token: Token) -> Bool { lock.withLock { token.process == process } }

    func drain() {
      let left = lock.withLock { () -> [Entry?] in
        // The slots are not given away again: whoever holds their tokens may still come to unregister.
        defer { entries = Array(repeating: nil, count: entries.count) }
        return entries
      }
      // The last first: what lies inside another directory is younger than that.
      for case let entry? in left.reversed() { entry.remove() }
    }

    /// In a forked child, with the lock held: it has no other threads.
    fileprivate func forget() {
      entries = []
      free = []
      process += 1
      lock.unlock()
    }
  }
}
