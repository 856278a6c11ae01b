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
      let isHuge = policy.takesHugeSlab
      policy.tookSlab(isHuge: isHuge, isHuge ? huge : small)
      return isHuge
    }
  }

  /// How many slabs lie between those for which `isTrial` holds.
  private func pauses(_ slabs: [Bool], _ isTrial: (Bool) -> Bool) -> [Int] {
    let trials = slabs.indices.filter { isTrial(slabs[$0]) }
    return zip(trials.dropFirst(), trials).map { $0 - $1 - 1 }
  }

  @Test func `huge pages that come quickly are all there is`() {
    var policy = PageSizePolicy()
    #expect(policy.prefersHuge)
    #expect(take(2000, &policy, huge: Self.quick).allSatisfy { $0 })
  }

  @Test func `where they are slow small ones are taken, and huge ones tried ever less often`() {
    var policy = PageSizePolicy()
    let slabs = take(2000, &policy, huge: Self.slow)
    #expect(slabs.prefix(3) == [true, true, false])
    #expect(!policy.prefersHuge)
    #expect(pauses(Array(slabs.dropFirst(2))) { $0 } == [64, 128, 256, 512, 512])
    #expect(slabs.dropFirst(2).firstIndex(of: true) == 2 + 1 + 32)
  }

  @Test func `a slow one now and then is a coincidence`() {
    var policy = PageSizePolicy()
    for _ in 0..<100 {
      #expect(take(1, &policy, huge: Self.slow) == [true])
      #expect(take(1, &policy, huge: Self.quick) == [true])
    }
  }

  @Test func `they are back as soon as a trial is quick`() {
    var policy = PageSizePolicy()
    _ = take(100, &policy, huge: Self.slow)
    #expect(!policy.prefersHuge)
    let slabs = take(200, &policy, huge: Self.quick)
    #expect(policy.prefersHuge)
    #expect(slabs.drop { !$0 }.allSatisfy { $0 })
  }

  @Test func `where small ones are as slow huge ones stay, and small ones are tried ever less often`() {
    var policy = PageSizePolicy()
    let slabs = take(2000, &policy, huge: Self.slow, small: Self.slow)
    #expect(policy.prefersHuge)
    #expect(pauses(slabs) { !$0 } == [64, 128, 256, 512, 512, 512])
  }

  @Test func `one small page that came late does not count for long`() {
    var policy = PageSizePolicy()
    _ = take(20, &policy, huge: Self.slow)
    while !policy.takesHugeSlab { policy.tookSlab(isHuge: false, 2 * Self.slow) }
    let slabs = take(1000, &policy, huge: Self.slow)
    #expect(slabs.filter { $0 }.count < 100)
    #expect(!policy.prefersHuge)
  }

  @Test(.enabled(if: access("/sys/kernel/mm/transparent_hugepage", F_OK) == 0))
  func `a slab has the pages that were decided on`() throws {
    var slow = PageSizePolicy()
    _ = take(20, &slow, huge: Self.slow)
    for (policy, flag) in [(PageSizePolicy(), "hg"), (slow, "nh")] {
      let pool = ChunkPool(pageSizes: policy)
      let chunk = try #require(pool.allocate())
      #expect(flags(of: chunk).contains(Substring(flag)))
      pool.deallocate(chunk)
    }
  }

  @Test func `slabs that are made ready are measured, and forgotten when there is nothing to do`() throws {
    let pool = ChunkPool()
    var chunks: [UnsafeMutableRawPointer] = []
    while !pool.isRunningLow { chunks.append(try #require(pool.allocate())) }
    #expect(pool.pageSizes.latest.huge == 0)
    pool.stockUp()
    #expect(pool.pageSizes.latest.huge > 0)
    for chunk in chunks { pool.deallocate(chunk) }
    while pool.trim() {}
    #expect(pool.pageSizes.latest.huge == 0)
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
