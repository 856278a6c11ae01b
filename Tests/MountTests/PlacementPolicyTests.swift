import Testing

@testable import SpoolFS

/// When threads that serve requests may run under SCHED_IDLE: decided from samples alone.
@Suite struct PlacementPolicyTests {
  private typealias Sample = PlacementPolicy.Sample

  private static let flowing = Sample(requests: 50, isStalled: false, runnable: 2, servers: 1, active: 1)
  private static let crowded = Sample(requests: 50, isStalled: false, runnable: 5, servers: 1, active: 1)
  private static let stalled = Sample(requests: 1, isStalled: true, runnable: 5, servers: 1, active: 1)
  private static let nothing = Sample(requests: 0, isStalled: false, runnable: 0, servers: 0, active: 0)

  private func policy(after samples: [PlacementPolicy.Sample] = []) -> PlacementPolicy {
    var policy = PlacementPolicy(processors: 2)
    for sample in samples { policy.take(sample) }
    return policy
  }

  /// How many samples like `flowing` it takes until the idle policy is allowed; nil where that is never.
  private func samplesUntilIdle(_ policy: inout PlacementPolicy) -> Int? {
    for count in 0..<10_000 {
      if policy.allowsIdle { return count }
      policy.take(Self.flowing)
    }
    return nil
  }

  private func policyAfterManyStalls() throws -> PlacementPolicy {
    var policy = policy()
    for _ in 0..<8 {
      let wait = samplesUntilIdle(&policy)
      _ = try #require(wait)
      policy.take(Self.stalled)
    }
    return policy
  }

  @Test func flowOnIdleProcessorsGetsTheIdlePolicy() {
    #expect(!policy().allowsIdle)
    #expect(policy(after: [Self.flowing]).allowsIdle)
  }

  @Test func fewRequestsDoNot() {
    let few = Sample(requests: 1, isStalled: false, runnable: 1, servers: 1, active: 1)
    #expect(!policy(after: Array(repeating: few, count: 100)).allowsIdle)
  }

  @Test func whereOthersComputeNobodyGetsIt() {
    #expect(!policy(after: Array(repeating: Self.crowded, count: 100)).allowsIdle)
  }

  @Test func whoComputesOnlyForAMomentDoesNotCount() {
    let mixed = (0..<100).map { $0 % 4 == 0 ? Self.flowing : Self.crowded }
    #expect(policy(after: mixed).allowsIdle)
  }

  @Test func aProcessorIsSpareThatOnlyServersWantedOfLate() {
    func isSpare(_ samples: [Sample]) -> Bool { policy(after: samples).hasSpareProcessor }
    let calm = Array(repeating: Self.flowing, count: 4)
    let full = Sample(requests: 50, isStalled: false, runnable: 3, servers: 1, active: 1)
    #expect(!isSpare([]))
    #expect(isSpare(calm))
    #expect(isSpare(calm + Array(repeating: full, count: 3)))
    // Though it has the idle policy still.
    #expect(policy(after: calm + Array(repeating: full, count: 4)).allowsIdle)
    #expect(!isSpare(calm + Array(repeating: full, count: 4)))
    // Under the normal policy.
    func few(_ runnable: Int) -> [Sample] {
      Array(repeating: Sample(requests: 1, isStalled: false, runnable: runnable, servers: 0, active: 3), count: 4)
    }
    #expect(!policy(after: few(2)).allowsIdle)
    #expect(isSpare(few(2)))
    // There are more threads than processors, whoever they are.
    #expect(!isSpare(few(4)))
    #expect(!isSpare(Array(repeating: Self.crowded, count: 4)))
  }

  @Test func whenOthersComeToStayItIsTakenAway() {
    #expect(!policy(after: [Self.flowing] + Array(repeating: Self.crowded, count: 4)).allowsIdle)
  }

  /// A server under the idle policy is displaced by whom it has answered, so both are runnable.
  @Test func serversDoNotCrowdThemselvesOut() {
    let twoClients = Sample(requests: 80, isStalled: false, runnable: 4, servers: 2, active: 2)
    #expect(policy(after: [Self.flowing] + Array(repeating: twoClients, count: 100)).allowsIdle)
  }

  @Test func aCrowdIsWhereSomebodyAlwaysWaits() {
    #expect(!policy().isCrowded)
    #expect(!policy(after: [Self.flowing]).isCrowded)
    #expect(!policy(after: Array(repeating: Self.crowded, count: 3)).isCrowded)
    #expect(policy(after: Array(repeating: Self.crowded, count: 4)).isCrowded)
    #expect(!policy(after: Array(repeating: Self.crowded, count: 4) + [Self.flowing]).isCrowded)
    var policy = policy(after: Array(repeating: Self.crowded, count: 4))
    policy.begin()
    #expect(!policy.isCrowded)
  }

  @Test func aStallTakesItAwayAtOnceAndForLongerEachTime() throws {
    var policy = policy()
    var waits: [Int] = []
    for _ in 0..<12 {
      let found = samplesUntilIdle(&policy)
      let wait = try #require(found)
      waits.append(wait)
      policy.take(Self.stalled)
      #expect(!policy.allowsIdle)
    }
    #expect(waits[0] == 1)
    #expect(waits[1] >= 10)
    #expect(waits[2] >= 2 * waits[1] - 2)
    #expect(waits[11] >= 1000 && waits[11] <= 1100)
    #expect(waits == waits.sorted())
  }

  @Test func longFlowWithoutAStallIsTrustedAgain() throws {
    var policy = try policyAfterManyStalls()
    let trusted = samplesUntilIdle(&policy)
    _ = try #require(trusted)
    for _ in 0..<50 { policy.take(Self.flowing) }
    policy.take(Self.stalled)
    let found = samplesUntilIdle(&policy)
    let samples = try #require(found)
    #expect(samples < 50)
  }

  @Test func afterAQuietTimeStallsAreForgotten() throws {
    var policy = try policyAfterManyStalls()
    while !policy.isQuiet { policy.take(Self.nothing) }
    policy.begin()
    #expect(samplesUntilIdle(&policy) == 1)
  }

  @Test func whenNothingComesThePolicyIsNormalBeforeNobodyLooks() {
    var policy = policy(after: [Self.flowing])
    #expect(policy.allowsIdle)
    while !policy.isQuiet { policy.take(Self.nothing) }
    #expect(!policy.allowsIdle)
    policy.begin()
    #expect(!policy.isQuiet)
    policy.take(Self.flowing)
    #expect(policy.allowsIdle)
  }
}
