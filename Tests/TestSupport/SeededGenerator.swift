import Glibc

/// Random numbers that can be had again: SplitMix64.
package struct SeededGenerator: RandomNumberGenerator {
  private var state: UInt64

  package init(seed: UInt64) { state = seed }

  package mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
    return mixed ^ (mixed >> 31)
  }

  /// Where a random test begins. The same each time, and another one for each `number`; `SPOOLFS_SEED` replays a failure,
  /// or with "random" looks for one.
  package static func testSeed(_ number: Int = 0) -> UInt64 {
    guard let text = variable("SPOOLFS_SEED") else { return 20_261_121 + UInt64(number) }
    return UInt64(text) ?? .random(in: 1...999_999_999)
  }

  /// How many operations a random test does: `SPOOLFS_OPERATIONS`, or what the test thinks is enough.
  package static func operations(_ usual: Int) -> Int { variable("SPOOLFS_OPERATIONS").flatMap { Int($0) } ?? usual }

  private static func variable(_ name: String) -> String? { getenv(name).map { String(cString: $0) } }
}
