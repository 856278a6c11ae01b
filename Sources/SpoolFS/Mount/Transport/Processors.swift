internal import CSpoolSystem

/// The processors that this process was started on, which is where its threads may run.
final class Processors: @unchecked Sendable {
  // @unchecked: constant.
  static let allowed = Processors()

  private let list = spool_allowed_processors()

  private init() {}

  /// How many; at least one.
  var count: Int { list.map { max(1, Int(spool_processor_count($0))) } ?? 1 }

  func contains(_ number: Int32) -> Bool { list.map { spool_processors_contain($0, number) != 0 } ?? false }

  /// - Parameter thread: its number; 0 for the calling one.
  func restore(_ thread: Int32) { if let list { spool_run_on_processors(thread, list) } }

  /// Keeps a thread from one processor, where there are others.
  func keep(_ thread: Int32, from number: Int32) { if let list { spool_run_apart(thread, list, number) } }
}
