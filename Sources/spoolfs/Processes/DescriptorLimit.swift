internal import CSpoolSystem
internal import Glibc

/// The limit of open files (RLIMIT_NOFILE) that this process was started with. The storage raises our own; the program
/// is to have the one that its user chose, since select(2) knows 1024 descriptors only.
struct DescriptorLimit {
  private var original = rlimit()

  /// The limit as it is now.
  init() { getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &original) }

  /// Runs `body` with that limit in force, for the process that it starts.
  func inForce<Result, Failure: Error>(_ body: () throws(Failure) -> Result) throws(Failure) -> Result {
    var current = rlimit()
    var original = original
    getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &current)
    setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &original)
    defer { setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &current) }
    return try body()
  }
}
