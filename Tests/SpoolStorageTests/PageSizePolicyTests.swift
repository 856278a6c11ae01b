import CSpoolSystem
import Glibc
import Testing

@testable import SpoolStorage

@Suite struct PageSizePolicyTests {
  /// Nanoseconds for a slab.
  private static let quick = 200_000
  private static let small = 1_200_000
  private static let slow = 6_000_000

  /// Takes slabs that are measured, and returns which of them had huge pages.
  private func take(_ count: Int, _ policy: inout PageSizePolicy, huge: Int, small: Int = small) -> [Bool] {
    (0..<count).map { _ in
      let isHuge = policy.takesHugeSlab()
      isHuge ? policy.tookHugeSlab(huge) : policy.tookSmallSlab(small)
      return isHuge
    }
  }

  @Test func `huge pages that come quickly are all there is`() {
    var policy = PageSizePolicy()
    #expect(policy.prefersHuge)
    #expect(take(2000, &policy, huge: Self.quick).allSatisfy { $0 })
  }

  @Test func `where they are slow small ones are taken, and huge ones tried ever less often`() {
    var policy = PageSizePolicy()
    let slabs = take(2000, &policy, huge: Self.slow)
    #expect(!policy.prefersHuge)
    let trials = slabs.indices.filter { slabs[$0] }
    let pauses = zip(trials.dropFirst(), trials).map { $0 - $1 }
    #expect(pauses == [32, 64, 128, 256, 512, 512])
  }

  @Test func `they are back as soon as a trial is quick`() {
    var policy = PageSizePolicy()
    _ = take(100, &policy, huge: Self.slow)
    #expect(!policy.prefersHuge)
    let slabs = take(200, &policy, huge: Self.quick)
    #expect(policy.prefersHuge)
    #expect(slabs.drop { !$0 }.allSatisfy { $0 })
    // The next pause is a short one again.
    #expect(take(34, &policy, huge: Self.slow).filter { $0 }.count == 2)
  }

  @Test func `where small ones are as slow, huge ones stay`() {
    var policy = PageSizePolicy()
    let slabs = take(100, &policy, huge: Self.slow, small: Self.slow)
    #expect(slabs.filter { !$0 }.count == 1)
    #expect(policy.prefersHuge)
  }

  @Test func `a slab has the pages that were decided on`() throws {
    var slow = PageSizePolicy()
    slow.tookHugeSlab(Self.slow)
    for (policy, flag) in [(PageSizePolicy(), "hg"), (slow, "nh")] {
      let pool = ChunkPool(pageSizes: policy)
      let chunk = try #require(pool.allocate())
      #expect(flags(of: chunk).contains(Substring(flag)))
      pool.deallocate(chunk)
    }
  }

  /// The kernel's flags of the mapping, as madvise(2) has set them.
  private func flags(of address: UnsafeMutableRawPointer) -> [Substring] {
    var isInside = false
    for line in (contentsOfSystemFile("/proc/self/smaps") ?? "").split(separator: "\n") {
      let fields = line.split(separator: " ")
      let bounds = fields[0].split(separator: "-").compactMap { UInt(String($0), radix: 16) }
      if bounds.count == 2 { isInside = (bounds[0]..<bounds[1]).contains(UInt(bitPattern: address)) }
      if isInside, fields[0] == "VmFlags:" { return Array(fields.dropFirst()) }
    }
    return []
  }
}
