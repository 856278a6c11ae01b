internal import Glibc

/// How many descriptors the process may have open (RLIMIT_NOFILE).
package enum DescriptorLimit {
  /// The soft limit that the process was started with. Programs that are started from it should get that one: some
  /// break above 1024, where select(2) ends.
  package static let original: UInt = current().rlim_cur

  /// Raises the soft limit to the hard one: a process whose spilled files run out of descriptors could no longer spill.
  static func raise() {
    _ = original
    var limit = current()
    guard limit.rlim_cur < limit.rlim_max else { return }
    limit.rlim_cur = limit.rlim_max
    setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
  }

  /// The soft limit now.
  package static var soft: UInt { current().rlim_cur }

  /// Whether an open descriptor is among the last `count` that the limit allows, of a small limit at most its upper half.
  /// The kernel gives the lowest number that is free, so nearly all below it are then in use.
  static func isAmongLast(_ count: Int, _ descriptor: Int32) -> Bool {
    let limit = soft
    return UInt(descriptor) >= limit - min(UInt(count), limit / 2)
  }

  private static func current() -> rlimit {
    var limit = rlimit()
    getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    return limit
  }
}
