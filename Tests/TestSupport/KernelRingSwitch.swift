import Foundation
import SystemPackage

/// The kernel's switch for FUSE over io_uring.
package enum KernelRingSwitch {
  private static let path = "/sys/module/fuse/parameters/enable_uring"

  package static var isOn: Bool { state == "Y" }
  /// Whether there is a switch, and tests may use it.
  package static let isUsable = state != nil && access(path, W_OK) == 0 && HostChange.kernelRing.isAllowed

  private static var state: String? {
    (try? String(contentsOfFile: path, encoding: .utf8))?.trimmingCharacters(in: .whitespacesAndNewlines)
  }

  /// Runs `body` with the switch on, or off, and puts it back.
  package static func with<Result>(on: Bool, _ body: () async throws -> Result) async throws -> Result {
    let before = isOn
    if before == on { return try await body() }
    try set(on)
    do {
      let result = try await body()
      try set(before)
      return result
    } catch {
      try set(before)
      throw error
    }
  }

  private static func set(_ isOn: Bool) throws {
    let file = try FileDescriptor.open(path, .writeOnly, options: .closeOnExec)
    _ = try file.closeAfter { try file.writeAll((isOn ? "Y" : "N").utf8) }
  }
}
