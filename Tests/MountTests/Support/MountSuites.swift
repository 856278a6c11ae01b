import Testing

/// All suites that mount, one test at a time: they share the machine's two cores with the servers of their mounts.
@Suite(.serialized) enum MountSuites {}

/// What the kernel's scheduler does of it: `scripts/test` runs these alone, after all others. They look more than once, and
/// judge the median of what they see.
@Suite(.serialized) enum SchedulingSuites {
  /// Whether `condition` holds more often than not.
  static func mostly(_ condition: () throws -> Bool) rethrows -> Bool {
    var count = 0
    for _ in 0..<5 where try condition() { count += 1 }
    return count > 2
  }
}
