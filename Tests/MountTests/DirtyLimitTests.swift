import Testing

@testable import SpoolFS

@Suite struct DirtyLimitTests {
  @Test(
    arguments: [
      (24 << 30, nil, 128 << 20), (512 << 20, nil, 128 << 20), (96 << 20, nil, 24 << 20), (48 << 20, nil, 12 << 20),
      (24 << 30, 1 << 30, 64 << 20), (96 << 20, 32 << 20, 2 << 20), (24 << 30, 1 << 20, 1 << 20), (0, 0, 1 << 20),
      (.max, .max, 128 << 20),
    ] as [(Int64, Int64?, Int)])
  func aQuarterOfTheMemoryAndASixteenthOfTheTree(memory: Int64, treeSize: Int64?, expected: Int) {
    #expect(DirtyLimit(memory: memory, treeSize: treeSize).bytes == expected)
  }

  @Test func whatCannotBeChangedMustFit() {
    let fixed = 48 << 20
    #expect(DirtyLimit(memory: 24 << 30, treeSize: nil).allows(fixed))
    #expect(DirtyLimit(memory: 192 << 20, treeSize: nil).allows(fixed))
    #expect(!DirtyLimit(memory: 191 << 20, treeSize: nil).allows(fixed))
    #expect(DirtyLimit(memory: 24 << 30, treeSize: 192 << 20).allows(fixed))
    #expect(!DirtyLimit(memory: 24 << 30, treeSize: 191 << 20).allows(fixed))
  }

  @Test func theKernelAllowsOnePercentOfItsDirtyPages() {
    func limit(_ settings: [String: String]) -> Int {
      DirtyLimit.kernelDefault(memory: 100 << 30) { settings[$0] }
    }
    #expect(limit(["/proc/sys/vm/dirty_ratio": "20\n", "/proc/sys/vm/dirty_bytes": "0\n"]) == (1 << 30) / 5)
    #expect(limit(["/proc/sys/vm/dirty_ratio": "0\n", "/proc/sys/vm/dirty_bytes": "1000000\n"]) == 10_000)
    #expect(limit([:]) == (1 << 30) / 5)
  }
}
