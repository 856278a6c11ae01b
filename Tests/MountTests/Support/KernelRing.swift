import CSpoolRing
import Foundation
import SystemPackage
import TestSupport
import Testing

@testable import SpoolFS

/// FUSE over io_uring, for tests that need it on or off.
enum KernelRing {
  /// Whether a test can have a ring; where it cannot, it is left out.
  static let isAvailable: Bool = {
    guard KernelRingSwitch.isOn || KernelRingSwitch.isUsable else { return false }
    guard let ring = spool_ring_open(-1) else { return false }
    spool_ring_close(ring)
    return true
  }()

  static let canBeSwitched = isAvailable && KernelRingSwitch.isUsable
}

/// Switches the kernel's ring on for the time of a test, where there is one.
struct KernelRingTrait: SuiteTrait, TestTrait, TestScoping {
  let isRecursive = true

  func provideScope(
    for test: Test, testCase: Test.Case?, performing function: @Sendable () async throws -> Void
  ) async throws {
    guard testCase != nil, KernelRing.isAvailable else { return try await function() }
    try await KernelRingSwitch.with(on: true, function)
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
