import CHostCalls
import Glibc
import TestSupport
import Testing

/// Runs one random script on two subjects and reports the first difference, with what led to it.
struct Comparison {
  let seed: UInt64
  let steps: Int
  var users = 1
  var largestSize: Int64 = 300_000
  /// Whether scripts may take space without data (plain fallocate); half of them do. Some disks cannot.
  var mayAllocate = true
  /// Steps between two comparisons of everything.
  var snapshotEvery = 500

  /// The seed of one comparison of the suite. The suite always runs the same scripts, so that it does not fail for a
  /// change that did nothing; SPOOLFS_SEED=random looks further, and SPOOLFS_SEED=NUMBER replays what it found.
  static func seed(_ number: Int64) -> UInt64 {
    SeededGenerator.testSeed(Int(number))
  }

  /// Preconditions: the thread has a root of its own (`onThread`).
  func run(_ subject: some Subject, _ reference: some Subject) {
    var generator = ScriptGenerator(seed: seed, users: users, largestSize: largestSize, mayAllocate: mayAllocate)
    var history: [String] = []
    for step in 0..<steps {
      let operation = generator.next()
      var expected = reference.perform(operation)
      // Of a listing as well as it can be: that of Linux 6.18's tmpfs may repeat names once one was renamed over another.
      if case .endListing = operation { expected = Outcome(value: 0) }
      let got = subject.perform(operation)
      history.append("\(operation) -> \(expected)")
      if got != expected {
        return report(step, "answered \(got)", history)
      }
      if step % snapshotEvery == snapshotEvery - 1 || step == steps - 1 {
        // Both act as root afterwards; so does the script.
        guard compareSnapshots(subject, reference, step, history) else { return }
      }
    }
  }

  private func compareSnapshots(
    _ subject: some Subject, _ reference: some Subject, _ step: Int, _ history: [String]
  ) -> Bool {
    let expected = reference.snapshot()
    let got = subject.snapshot()
    if got == expected { return true }
    let missing = expected.filter { !got.contains($0) }.prefix(5)
    let surplus = got.filter { !expected.contains($0) }.prefix(5)
    report(step, "tmpfs has \(Array(missing)), the subject \(Array(surplus))", history)
    return false
  }

  private func report(_ step: Int, _ what: String, _ history: [String]) {
    Issue.record(
      """
      Step \(step) differs from tmpfs: \(what)
      Replay with SPOOLFS_SEED=\(seed). The last steps, with tmpfs's answers:
      \(history.suffix(getenv("SPOOLFS_SEED") == nil ? 40 : 600).joined(separator: "\n"))
      """)
  }
}

/// A tmpfs of its own, mounted for one comparison.
final class ReferenceTmpfs {
  let path: String

  init(size: Int64 = 1 << 30) throws {
    var template = Array("/tmp/spoolfs-reference-XXXXXX".utf8CString)
    path = try #require(mkdtemp(&template).map { String(cString: $0) })
    let mounted = host_mount_tmpfs(path, "size=\(size),mode=0755,huge=never")
    try #require(mounted == 0, "cannot mount the tmpfs to compare with: \(mounted)")
  }

  deinit {
    host_become(0, 0)
    _ = host_unmount(path)
    rmdir(path)
  }
}

/// Runs `body` on a thread that has a root directory and a user of its own, as `HostSubject` needs.
///
/// The caller waits: were the thread to resume it, threads that the resumption starts would inherit that root.
func onThread(_ body: () -> Void) throws {
  try withoutActuallyEscaping(body) { body in
    var body = body
    let result = withUnsafeMutablePointer(to: &body) { pointer in
      host_run_with_own_root({ $0!.assumingMemoryBound(to: (() -> Void).self).pointee() }, pointer)
    }
    try #require(result == 0, "cannot give a thread a root directory of its own: \(result)")
  }
}
