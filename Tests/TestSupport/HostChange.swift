import Foundation

/// What tests change of the host itself, and put back: allowed where `SPOOLFS_TEST_HOST` is 1, as `.ci/run` has it. Otherwise
/// they are left out, and `scripts/test` says so in the end.
package enum HostChange: String, Sendable {
  case kernelRing = "FUSE over io_uring (/sys/module/fuse/parameters/enable_uring is off)"
  case processors = "processors that come and go (/sys/devices/system/cpu)"
  case fuseDevice = "ordinary users (/dev/fuse is root's alone)"

  private static let isAllowed = ProcessInfo.processInfo.environment["SPOOLFS_TEST_HOST"] == "1"

  /// Whether a test may make this change. Asked only where it takes one: what is refused counts as left out.
  package var isAllowed: Bool {
    if !Self.isAllowed { leaveOut() }
    return Self.isAllowed
  }

  /// Tells `scripts/test`, by the file that `SPOOLFS_TEST_LEFT_OUT` names.
  private func leaveOut() {
    guard let path = ProcessInfo.processInfo.environment["SPOOLFS_TEST_LEFT_OUT"] else { return }
    let file = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0o600)
    guard file >= 0 else { return }
    let line = Array("\(rawValue)\n".utf8)
    _ = Foundation.write(file, line, line.count)
    close(file)
  }
}
