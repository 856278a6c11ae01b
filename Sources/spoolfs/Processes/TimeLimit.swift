internal import SpoolStorage

/// Work that may hang, such as asking for the memory of a process that waits for its own.
enum TimeLimit {
  private final class Box<Value: Sendable>: @unchecked Sendable {
    // @unchecked: `lock` protects the variable.
    let lock = Lock()
    var value: Value?
    let done = EventCount()
  }

  /// What `body` returns, on a thread of its own; nil where it takes longer, and goes on while the process lives.
  static func value<Value: Sendable>(
    within limit: Duration, _ body: @escaping @Sendable () -> Value
  ) -> Value? {
    let box = Box<Value>()
    do {
      try SystemThread.start(named: "spoolfs/limited") {
        let value = body()
        box.lock.withLock { box.value = value }
        box.done.signal()
      }
    } catch {
      return nil
    }
    let deadline = ContinuousClock.now + limit
    while true {
      let seen = box.done.current()
      if let value = box.lock.withLock({ box.value }) { return value }
      let left = deadline - ContinuousClock.now
      if left <= .zero { return nil }
      box.done.wait(after: seen, timeout: left)
    }
  }
}
