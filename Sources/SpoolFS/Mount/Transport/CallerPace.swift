/// Tells from the pauses between an answer and the next request when to look where the caller is.
///
/// Looking takes some microseconds, so it is done now and then, and at once when the pauses get longer: a caller that has
/// gone to another processor, since something else ran for a moment on its own, has to wake that of the reader each time.
struct CallerPace {
  /// Requests between two looks, whatever the pauses.
  static let longestInterval = 32
  /// Requests between two looks because of the pauses: at least, when the last look was worth it. It doubles when not.
  static let shortestInterval = 4
  /// Long pauses in a row that are looked into.
  private static let convincing = 2
  /// Nanoseconds. Shorter ones are short, whatever is usual.
  private static let shortPause = 20_000
  /// Nanoseconds. Longer ones have no bearing on what is usual.
  private static let longestPause = 200_000

  private var requests = Self.longestInterval
  private var interval = Self.shortestInterval
  private var longPauses = 0
  /// Nanoseconds.
  private var usualPause = 0
  private var lastPause = 0

  /// Takes one request in.
  ///
  /// - Parameter pause: nanoseconds between the answer to the request before and this request.
  /// - Returns: whether to look now. `looked` must be called then.
  mutating func takesRequest(after pause: Int) -> Bool {
    requests += 1
    lastPause = min(pause, Self.longestPause)
    if lastPause > max(2 * usualPause, Self.shortPause) {
      longPauses += 1
    } else {
      longPauses = 0
      usualPause += (lastPause - usualPause) / 8
    }
    return requests >= Self.longestInterval || (longPauses >= Self.convincing && requests >= interval)
  }

  /// - Parameter hasMoved: whether the caller was somewhere else than before.
  mutating func looked(hasMoved: Bool) {
    requests = 0
    if hasMoved {
      interval = Self.shortestInterval
    } else if longPauses >= Self.convincing {
      interval = min(2 * interval, Self.longestInterval)
      usualPause += (lastPause - usualPause) / 2
    }
    longPauses = 0
  }

  /// Has the next request looked into.
  mutating func begin() { requests = Self.longestInterval }
}
