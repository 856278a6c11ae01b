internal import CSpoolSystem
internal import Glibc
package import SystemPackage

/// The errno of the call that just failed.
@inline(__always)
package func currentErrno() -> Errno { Errno(rawValue: errno) }

/// Calls `body` until it is not interrupted by a signal, and throws its errno when it returns -1.
@inline(__always)
@discardableResult
package func retryingInterrupts<Result: FixedWidthInteger & SignedInteger>(
  _ body: () -> Result
) throws(Errno) -> Result {
  while true {
    let result = body()
    if result != -1 { return result }
    let error = currentErrno()
    if error != .interrupted { throw error }
  }
}

/// What a clock of clock_gettime(2) shows, in nanoseconds.
package func nanoseconds(of clock: Int32) -> Int {
  var time = timespec()
  clock_gettime(clock, &time)
  return time.tv_sec * 1_000_000_000 + time.tv_nsec
}

/// Nanoseconds of the monotonic clock, as of its last tick: cheaper than the time itself.
package func coarseNanoseconds() -> Int { nanoseconds(of: CLOCK_MONOTONIC_COARSE) }

/// The same in seconds.
func coarseSeconds() -> Int64 { Int64(coarseNanoseconds() / 1_000_000_000) }

/// The path that an environment variable is set to; nil where it is not set or empty, and in a process with more privileges
/// than its user (set-user-ID and the like), for which the user must not choose (secure_getenv(3)).
package func environmentPath(_ name: String) -> FilePath? {
  guard spool_is_privileged() == 0, let value = getenv(name), value.pointee != 0 else { return nil }
  return FilePath(platformString: value)
}

/// What a small file of the kernel's (/proc, /sys) says, nil when it cannot be read.
package func contentsOfSystemFile(_ path: String) -> String? {
  let file = open(path, O_RDONLY | O_CLOEXEC)
  guard file >= 0 else { return nil }
  defer { close(file) }
  var bytes: [UInt8] = []
  while true {
    let part = [UInt8](unsafeUninitializedCapacity: 4096) { buffer, count in
      count = max(0, Glibc.read(file, buffer.baseAddress, buffer.count))
    }
    if part.isEmpty { return String(decoding: bytes, as: UTF8.self) }
    bytes += part
  }
}
