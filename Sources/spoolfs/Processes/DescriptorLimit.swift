internal import CSpoolSystem
internal import Glibc
internal import SpoolStorage

extension DescriptorLimit {
  /// Runs `body`, which starts a program, under the soft limit that this process was started with and not the one that
  /// the storage has raised for us.
  static func withOriginal<Result, Failure: Error>(_ body: () throws(Failure) -> Result) throws(Failure) -> Result {
    let resource = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
    var raised = rlimit()
    getrlimit(resource, &raised)
    var limit = rlimit(rlim_cur: original, rlim_max: raised.rlim_max)
    setrlimit(resource, &limit)
    defer { setrlimit(resource, &raised) }
    return try body()
  }
}
