import Foundation

/// Random numbers that can be had again: SplitMix64.
struct SeededGenerator: RandomNumberGenerator {
  private var state: UInt64

  init(seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
    return mixed ^ (mixed >> 31)
  }

  /// The same each time; SPOOLFS_SEED replays a failure, or with "random" looks for one.
  static var seed: UInt64 {
    guard let text = ProcessInfo.processInfo.environment["SPOOLFS_SEED"] else { return 20_261_121 }
    return UInt64(text) ?? .random(in: 0...UInt64.max)
  }

  /// SPOOLFS_OPERATIONS, or what the test thinks is enough.
  static func operations(_ usual: Int) -> Int {
    ProcessInfo.processInfo.environment["SPOOLFS_OPERATIONS"].flatMap { Int($0) } ?? usual
  }
}
