import Synchronization

/// Complaints of many threads: `#expect` per byte read would be too slow.
final class Complaints: Sendable {
  private let texts = Mutex<[String]>([])

  func add(_ text: String) { texts.withLock { if $0.count < 10 { $0.append(text) } } }

  var all: [String] { texts.withLock { $0 } }
}
