import Foundation
import SystemPackage
import TestSupport
import Testing

extension CommandTests {
  /// SIGKILL at any moment, under load: every byte that a program reads is what was written, or an error; nobody waits for
  /// ever; nothing stays behind. `scripts/kill-test` runs more of it.
  @Suite(.serialized, .timeLimit(.minutes(10 + wantedKills / 10))) struct KillTests {
    /// In the suite it ends after four minutes, however slow the machine.
    private static let patience = Duration.seconds(isScript ? 6 * wantedKills + 60 : 240)

    @Test func nothingIsWrongAndNothingIsLeftWhoeverIsKilled() async throws {
      let seed = SeededGenerator.testSeed(17)
      var random = SeededGenerator(seed: seed)
      let disk = getuid() == 0 ? try SpillDisk() : nil
      var kinds: [Kill] = []
      var sum = KillSum()
      let start = ContinuousClock.now
      try await KernelRingSwitch.with(on: KernelRingSwitch.isOn || KernelRingSwitch.isUsable) {
        for number in 0..<wantedKills where ContinuousClock.now - start < Self.patience && sum.faults.count < 10 {
          if kinds.isEmpty { kinds = Kill.kinds.shuffled(using: &random) }
          let kill = kinds.removeLast().timed(&random)
          let round = KillRound(kill, spillDirectory: disk?.path)
          do { try await round.run() } catch { round.fail("\(error)") }
          if let disk, await !eventually({ disk.isEmpty }) { round.fail("the spill directory's disk is not empty") }
          sum.add(round, number)
        }
      }
      print("kill-test: seed \(seed): \(sum)")
      for fault in sum.faults { Issue.record("\(fault); again with SPOOLFS_SEED=\(seed)") }
    }
  }
}

/// `scripts/kill-test` sets the variable.
private let isScript = getenv("SPOOLFS_KILLS") != nil
private let wantedKills = getenv("SPOOLFS_KILLS").flatMap { Int(String(cString: $0)) } ?? 100

/// Who is killed, of what, and when.
struct Kill: Sendable, CustomStringConvertible {
  enum Victim: String, CaseIterable { case server, guardian, both }
  enum Command: String, CaseIterable { case mount, run }

  var victim: Victim
  var command: Command
  var transport: String
  var cache: String
  var user: uid_t?
  /// How long the load has been there, and how long after the first the second one is killed.
  var delay = Duration.zero
  var pause = Duration.zero
  var seed = 0

  static let kinds: [Kill] = {
    let transports = KernelRingSwitch.isOn || KernelRingSwitch.isUsable ? ["device", "ring"] : ["device"]
    var kinds: [Kill] = []
    for victim in Victim.allCases {
      for command in Command.allCases {
        for transport in transports {
          for cache in ["writeback", "writethrough"] {
            for user in Sandbox.users {
              kinds.append(Kill(victim: victim, command: command, transport: transport, cache: cache, user: user))
            }
          }
        }
      }
    }
    return kinds
  }()

  func timed(_ random: inout SeededGenerator) -> Kill {
    var kill = self
    kill.delay = .milliseconds(Int.random(in: 0...500, using: &random))
    kill.pause = .milliseconds(Bool.random(using: &random) ? 0 : Int.random(in: 0...20, using: &random))
    kill.seed = Int.random(in: 0...1_000_000, using: &random)
    return kill
  }

  var description: String {
    "\(victim.rawValue) of a \(command.rawValue), \(user == nil ? "own" : "another") user, \(transport), \(cache), "
      + "after \(delay), pause \(pause)"
  }
}

/// What `scripts/kill-test` tells.
private struct KillSum: CustomStringConvertible {
  private(set) var faults: [String] = []
  private var kills: [String: Int] = [:]
  private var operations = 0, compared = 0, wrong = 0, hung = 0, left = 0

  mutating func add(_ round: KillRound, _ number: Int) {
    let kill = round.kill
    let user = kill.user == nil ? "own user" : "other user"
    for kind in ["all", kill.victim.rawValue, kill.command.rawValue, kill.transport, user] {
      kills[kind, default: 0] += 1
    }
    operations += round.report?.operations ?? 0
    compared += round.report?.compared ?? 0
    wrong += round.report?.wrong ?? 0
    hung += round.isHung ? 1 : 0
    left += round.leftovers.count
    faults += round.faults.map { "kill \(number), \(kill): \($0)" }
  }

  var description: String {
    let by = kills.filter { $0.key != "all" }.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }
    return """
      \(kills["all"] ?? 0) kills (\(by.joined(separator: ", "))): \(operations) operations, \(compared) bytes compared; \
      wrong \(wrong), hung \(hung), left behind \(left), other faults \(faults.count)
      """
  }
}

/// A disk of its own for what is spilled, so that space which is not given back is seen.
private final class SpillDisk {
  private let image: SparseImage
  private let before: (blocks: UInt, files: UInt)

  var path: FilePath { image.path }

  init() throws {
    image = try SparseImage("ext4", size: 512, space: 400, hasPath: true)
    chmod(image.path.string, 0o1777)
    before = Self.free(image.path)
  }

  private static func free(_ path: FilePath) -> (blocks: UInt, files: UInt) {
    if let directory = try? FileDescriptor.open(path, .readOnly) {
      fsync(directory.rawValue)
      try? directory.close()
    }
    var status = statvfs()
    statvfs(path.string, &status)
    return (UInt(status.f_bfree), UInt(status.f_ffree))
  }

  /// No file is left there, with a name or without one.
  var isEmpty: Bool {
    let now = Self.free(path)
    return now.files == before.files && now.blocks + 64 >= before.blocks
  }
}
