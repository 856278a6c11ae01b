import Glibc
import SpoolStorage
import SystemPackage
import Testing

@testable import SpoolFS

/// tmpfs is the reference: random scripts on the tree and on a tmpfs must give the same answers and leave the same
/// files. Mounting the tmpfs takes root.
@Suite("The tree does what tmpfs does", .serialized, .enabled(if: geteuid() == 0, "mounting a tmpfs takes root"))
struct TreeComparisonTests {
  private func tree(threshold: Int64) throws -> FileSystem {
    var storage = SpoolConfiguration()
    storage.threshold = .bytes(threshold)
    return try FileSystem(
      FileSystem.Configuration(storage: storage, rootMode: FilePermissions(rawValue: 0o755), rootUser: 0, rootGroup: 0))
  }

  @Test("as root, files crossing the threshold", arguments: [Int64(0), 20_000, 100_000, 1 << 30])
  func root(threshold: Int64) throws {
    let seed = Comparison.seed(threshold % 7)
    try compare(Comparison(seed: seed, steps: 20_000), tree(threshold: threshold))
  }

  @Test("as several users, with access rules, sticky and setgid directories", arguments: 0..<3)
  func severalUsers(round: Int) throws {
    let seed = Comparison.seed(Int64(100 + round))
    try compare(
      Comparison(seed: seed, steps: 20_000, users: scriptUsers.count, largestSize: 50_000), tree(threshold: 30_000))
  }

  private func compare(_ comparison: Comparison, _ tree: FileSystem) throws {
    let reference = try ReferenceTmpfs()
    let path = reference.path
    try onThread {
      comparison.run(TreeSubject(tree), HostSubject(path))
    }
    withExtendedLifetime(reference) {}
  }
}
