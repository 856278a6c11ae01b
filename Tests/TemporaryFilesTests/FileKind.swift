import SystemPackage
import Testing

@testable import TemporaryFiles

/// Every kind of file, and every state that one can be in when it is used.
enum FileKind: CaseIterable, CustomTestStringConvertible {
  case spooledInMemory
  /// The first write of more than two bytes, or past the third, moves it.
  case spooledRollingMeanwhile
  case spooledOnDisk
  case spooledRolledByHand
  case spooledDescriptorGivenAway
  /// One that spills to a directory of its own.
  case spooledInDirectory
  case unnamed, unnamedUnbuffered, unnamedLines, unnamedTinyBuffer, unnamedDescriptorGivenAway
  case named, namedBuffered, namedLines, namedTinyBuffer, namedDescriptorGivenAway

  static let rollingThreshold: Int64 = 2

  var testDescription: String { "\(self)" }

  /// Runs a check with a file of the kind; the file is closed afterwards.
  func run(_ check: some FileCheck, maximumSize: Int64? = nil) throws {
    switch self {
    case .spooledInMemory, .spooledRollingMeanwhile, .spooledOnDisk, .spooledRolledByHand, .spooledDescriptorGivenAway,
      .spooledInDirectory:
      try runSpooled(check, maximumSize)
    case .unnamed: try runUnnamed(check, .standard, maximumSize)
    case .unnamedUnbuffered: try runUnnamed(check, .none, maximumSize)
    case .unnamedLines: try runUnnamed(check, .line, maximumSize)
    case .unnamedTinyBuffer: try runUnnamed(check, .bytes(3), maximumSize)
    case .unnamedDescriptorGivenAway: try runUnnamed(check, .standard, maximumSize, exposed: true)
    case .named: try runNamed(check, .standard, maximumSize)
    case .namedBuffered: try runNamed(check, .bytes(8192), maximumSize)
    case .namedLines: try runNamed(check, .line, maximumSize)
    case .namedTinyBuffer: try runNamed(check, .bytes(3), maximumSize)
    case .namedDescriptorGivenAway: try runNamed(check, .bytes(8192), maximumSize, exposed: true)
    }
  }

  private func runSpooled(_ check: some FileCheck, _ maximumSize: Int64?) throws {
    let threshold: SpoolConfiguration.Threshold =
      switch self {
      case .spooledRollingMeanwhile: .bytes(Self.rollingThreshold)
      case .spooledOnDisk: .bytes(0)
      default: .unlimited
      }
    var file = try SpooledTemporaryFile(
      threshold: threshold, in: self == .spooledInDirectory ? "/var/tmp" : nil, maximumSize: maximumSize)
    if self == .spooledRolledByHand { try file.rollOver() }
    if self == .spooledDescriptorGivenAway { _ = try file.fileDescriptor() }
    try check.run(on: &file)
    try file.close()
  }

  private func runUnnamed(
    _ check: some FileCheck, _ buffering: Buffering, _ maximumSize: Int64?, exposed: Bool = false
  ) throws {
    var file = try TemporaryFile(buffering: buffering, maximumSize: maximumSize)
    if exposed { _ = try file.fileDescriptor() }
    try check.run(on: &file)
    try file.close()
  }

  private func runNamed(
    _ check: some FileCheck, _ buffering: Buffering, _ maximumSize: Int64?, exposed: Bool = false
  ) throws {
    var file = try NamedTemporaryFile(buffering: buffering, maximumSize: maximumSize)
    if exposed { _ = try file.fileDescriptor() }
    try check.run(on: &file)
    try file.close()
    #expect(status(of: file.path) == nil)
  }
}
