import CSpoolRing
import Foundation
import SystemPackage
import Testing

@testable import SpoolFS

/// The kernel's switch for FUSE over io_uring, for tests that need it on or off.
enum KernelRing {
  private static let path = "/sys/module/fuse/parameters/enable_uring"

  /// Whether a test can have a ring; where it cannot, it is left out.
  static let isAvailable: Bool = {
    guard let state = read(), state == "Y" || access(path, W_OK) == 0 else { return false }
    guard let ring = spool_ring_open(-1) else { return false }
    spool_ring_close(ring)
    return true
  }()

  static let canBeSwitched = isAvailable && access(path, W_OK) == 0

  /// Runs `body` with the switch on, or off, and puts it back.
  static func switched<Result>(on: Bool, _ body: () async throws -> Result) async throws -> Result {
    let before = read() ?? "N"
    let wanted = on ? "Y" : "N"
    if before == wanted { return try await body() }
    try write(wanted)
    do {
      let result = try await body()
      try write(before)
      return result
    } catch {
      try write(before)
      throw error
    }
  }

  private static func read() -> String? {
    (try? String(contentsOfFile: path, encoding: .utf8))?.trimmingCharacters(in: .whitespacesAndNewlines)
  }

  private static func write(_ text: String) throws {
    let file = try HostFile(path, O_WRONLY)
    try file.append(Array(text.utf8))
  }
}

/// Switches the kernel's ring on for the time of a test, where there is one.
struct KernelRingTrait: SuiteTrait, TestTrait, TestScoping {
  let isRecursive = true

  func provideScope(
    for test: Test, testCase: Test.Case?, performing function: @Sendable () async throws -> Void
  ) async throws {
    guard testCase != nil, KernelRing.isAvailable else { return try await function() }
    try await KernelRing.switched(on: true, function)
  }
}

extension Trait where Self == KernelRingTrait {
  /// For tests that mount over the ring.
  static var kernelRing: Self { Self() }
}

/// The transports that tests run over: all that this machine can have.
let transports: [MountOptions.Transport] = KernelRing.isAvailable ? [.device, .ring] : [.device]

/// A cache mode and a transport.
struct Way: Sendable, CustomTestStringConvertible {
  var cache: MountOptions.Cache
  var transport: MountOptions.Transport

  var options: MountOptions { MountOptions(cache: cache, transport: transport) }
  var testDescription: String { "\(cache.rawValue) over the \(transport.rawValue)" }

  static let all = transports.flatMap { transport in cacheModes.map { Way(cache: $0, transport: transport) } }
}
