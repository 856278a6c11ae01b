internal import Synchronization

/// Decides from the requests of several readers whether they overlap so often that more readers are worth it.
///
/// What meets a request may be a FORGET, for which nobody waits, and another caller may come only once: so one overlap
/// proves nothing.
struct Overlaps: ~Copyable, Sendable {
  /// Requests in a row that met no other, after which one reader is enough again.
  static let calm = 64
  /// Overlaps with no such row between them after which one more reader is worth it.
  static let convincing = 4

  enum Verdict {
    case undecided, moreReaders, oneReader
  }

  private let calmRequests = Atomic<Int>(0)
  private let seen = Atomic<Int>(0)

  /// Takes one request in. Safe from many threads; what two of them do at the same time may count once.
  func note(overlapping: Bool) -> Verdict {
    if overlapping {
      calmRequests.store(0, ordering: .relaxed)
      if seen.add(1, ordering: .relaxed).newValue < Self.convincing { return .undecided }
      seen.store(0, ordering: .relaxed)
      return .moreReaders
    }
    if calmRequests.add(1, ordering: .relaxed).newValue < Self.calm { return .undecided }
    calmRequests.store(0, ordering: .relaxed)
    seen.store(0, ordering: .relaxed)
    return .oneReader
  }
}
