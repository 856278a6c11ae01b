/// Decides from what is seen in each millisecond whether the threads that serve requests are to run under SCHED_IDLE.
///
/// A processor that runs nothing but such threads counts as idle, so the scheduler leaves the caller on it, and caller and
/// server need not wake another processor. The price: behind a program that computes, such a thread waits for
/// milliseconds. So the policy is given while there are processors for everybody, and taken away at the first request
/// that waits.
struct PlacementPolicy {
  /// What was seen since the last decision.
  struct Sample {
    /// Requests answered.
    var requests: Int
    /// A thread was kept from running while a request waited for it.
    var isStalled: Bool
    /// Threads of the whole system that run or could run now, without the one that decides.
    var runnable: Int
    /// Threads with the idle policy that answered requests.
    var servers: Int
    /// Threads with any policy that answered requests, or are at one.
    var active: Int
  }

  /// Fewer requests in a millisecond gain nothing.
  private static let worthwhileRequests = 2
  /// Samples without a request after which the policy is normal, and nobody need look any more. Also of one thread alone.
  static let patience = 16
  /// How long a stall keeps the policy normal, in samples: at first, and after stalls in a row.
  private static let pauses = (first: 16, longest: 1024)
  /// Samples without a stall after which the next pause is a short one again. Few, as without the policy requests take several
  /// times as long: that costs more than a stall now and then.
  private static let trust = 32
  /// Samples without a stall after which, with processors to spare, none is expected soon.
  private static let steady = 16

  /// Those of the machine.
  let processors: Int
  /// Whether the threads may have the idle policy.
  private(set) var allowsIdle = false

  private var quietSamples = 0
  private var goodSamples = 0
  private var pause = 0
  private var nextPause = pauses.first
  /// The latest four, as what runs for a moment does not count, and without the threads that have the idle policy: whoever
  /// they answer has displaced them.
  private var runnable = SIMD4<Int>(repeating: .max)

  /// The same, without any threads that serve.
  private var others = SIMD4<Int>(repeating: .max)

  init(processors: Int) { self.processors = processors }

  /// Whether nothing has happened for so long that nothing need be sampled until a request comes.
  var isQuiet: Bool { quietSamples >= Self.patience }

  /// Whether threads have the idle policy, and of late there always was a processor that nobody wanted.
  var isSteady: Bool { allowsIdle && goodSamples >= Self.steady && runnable.max() < processors }

  /// Whether at least once of late nobody had to wait, and there was a processor that only those who serve wanted: one that
  /// leaves its caller's finds another.
  var hasSpareProcessor: Bool { hasRoom && others.min() < processors }

  /// A request has come after a quiet time: what there was before it has no bearing on what comes.
  mutating func begin() {
    quietSamples = 0
    goodSamples = 0
    pause = 0
    nextPause = Self.pauses.first
    runnable = SIMD4(repeating: .max)
    others = SIMD4(repeating: .max)
  }

  /// Takes one sample in, and decides.
  mutating func take(_ sample: Sample) {
    runnable = SIMD4(runnable.y, runnable.z, runnable.w, sample.runnable - (allowsIdle ? sample.servers : 0))
    others = SIMD4(others.y, others.z, others.w, sample.runnable - sample.active)
    quietSamples = sample.requests > 0 || sample.isStalled ? 0 : quietSamples + 1
    pause = max(0, pause - 1)
    if allowsIdle { review(sample) } else { consider(sample) }
  }

  private mutating func consider(_ sample: Sample) {
    allowsIdle = pause == 0 && sample.requests >= Self.worthwhileRequests && hasRoom && !sample.isStalled
  }

  private mutating func review(_ sample: Sample) {
    if sample.isStalled {
      allowsIdle = false
      pause = nextPause
      nextPause = min(nextPause * 2, Self.pauses.longest)
      goodSamples = 0
      return
    }
    goodSamples += 1
    if goodSamples >= Self.trust { nextPause = Self.pauses.first }
    if isQuiet || !hasRoom { allowsIdle = false }
  }

  /// Whether requests come, and of late somebody always had to wait for a processor.
  var isCrowded: Bool { !isQuiet && runnable.max() != .max && !hasRoom }

  /// Whether at least once of late nobody had to wait for a processor.
  private var hasRoom: Bool { runnable.min() <= processors }
}
