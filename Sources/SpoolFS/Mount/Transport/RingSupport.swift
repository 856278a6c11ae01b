internal import CSpoolRing
internal import CSpoolSystem
internal import Glibc
internal import SystemPackage

/// Whether this kernel can carry FUSE over io_uring, and what it lacks.
enum RingSupport {
  private static let kernelSwitch = "/sys/module/fuse/parameters/enable_uring"
  private static let possibleProcessors = "/sys/devices/system/cpu/possible"

  /// Why the ring cannot be used, and what would help; nil where it can.
  static func obstacle() -> String? {
    loadModule()
    switch read(kernelSwitch)?.first {
    case nil: return "this kernel has no FUSE over io_uring; that needs Linux 6.14 or later, built with FUSE_IO_URING"
    case UInt8(ascii: "Y"): break
    default: return "FUSE over io_uring is switched off; root switches it on with: echo Y > \(kernelSwitch)"
    }
    if let ring = spool_ring_open(-1) {
      spool_ring_close(ring)
      return nil
    }
    return
      "io_uring cannot be used here (\(Errno(rawValue: errno))); see sysctl kernel.io_uring_disabled, and what the "
      + "container permits"
  }

  /// One queue for each processor that the kernel could ever have, as FUSE counts them.
  static func queueCount() -> Int {
    let count = read(possibleProcessors).map { countProcessors(String(decoding: $0, as: UTF8.self)) } ?? 0
    return count > 0 ? count : max(1, sysconf(Int32(_SC_NPROCESSORS_CONF)))
  }

  /// - Parameter list: as in `0-3,8`.
  static func countProcessors(_ list: String) -> Int {
    list.split { $0 == "," || $0 == "\n" }.reduce(0) { sum, range in
      let ends = range.split(separator: "-").compactMap { Int($0) }
      guard let first = ends.first, let last = ends.last, last >= first else { return sum }
      return sum + last - first + 1
    }
  }

  /// The switch exists when the module does, which the first open of the device loads.
  private static func loadModule() {
    let device = spool_openat(AT_FDCWD, "/dev/fuse", O_RDWR | O_CLOEXEC, 0)
    if device >= 0 { close(device) }
  }

  private static func read(_ path: String) -> [UInt8]? {
    let file = spool_openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0)
    if file < 0 { return nil }
    defer { close(file) }
    var bytes = [UInt8](repeating: 0, count: 4096)
    let count = Glibc.read(file, &bytes, bytes.count)
    return count > 0 ? Array(bytes[..<count]) : nil
  }
}
