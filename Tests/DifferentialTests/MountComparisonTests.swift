import Glibc
import SpoolFS
import SpoolStorage
import SystemPackage
import Testing

/// The same scripts through the kernel: on a mount of ours and on a tmpfs.
@Suite("A mount does what tmpfs does", .serialized, .enabled(if: geteuid() == 0, "mounting a tmpfs takes root"))
struct MountComparisonTests {
  @Test("as root, files crossing the threshold", arguments: MountOptions.Cache.allCases, [Int64(0), 50_000])
  func root(cache: MountOptions.Cache, threshold: Int64) throws {
    let seed = Comparison.seed(threshold % 7)
    let options = MountOptions(cache: cache)
    try compare(Comparison(seed: seed, steps: 8_000), threshold: threshold, options)
  }

  @Test("as several users, checked by the kernel", arguments: MountOptions.Cache.allCases)
  func severalUsers(cache: MountOptions.Cache) throws {
    let options = MountOptions(cache: cache, allowOther: true)
    let comparison = Comparison(
      seed: Comparison.seed(100), steps: 8_000, users: scriptUsers.count, largestSize: 50_000)
    try compare(comparison, threshold: 30_000, options)
  }

  private func compare(_ comparison: Comparison, threshold: Int64, _ options: MountOptions) throws {
    let reference = try ReferenceTmpfs()
    var template = Array("/tmp/spoolfs-compared-XXXXXX".utf8CString)
    let path = try #require(mkdtemp(&template).map { String(cString: $0) })
    defer { rmdir(path) }
    let tree = try FileSystem(
      FileSystem.Configuration(
        storage: SpoolConfiguration(threshold: .bytes(threshold)), rootMode: FilePermissions(rawValue: 0o755)))
    let mount = try tree.mount(at: FilePath(path), options: options)
    defer { try? mount.unmount(lazily: true) }
    try onThread {
      let isWriteback = options.cache == .writeback
      let order = StampOrder()
      let subject = HostSubject(
        path, syncsBeforeSnapshot: isWriteback, comparesBlocks: !isWriteback, stampOrder: order
      ) { path in
        let found = try? tree.metadata(of: FilePath(path), followingSymbolicLinks: false)
        return found.map { [$0.modified, $0.changed].map { $0.seconds * 1_000_000_000 + Int64($0.nanoseconds) } }
      }
      comparison.run(
        subject,
        HostSubject(reference.path, comparesBlocks: !isWriteback, stampOrder: order))
    }
    withExtendedLifetime(reference) {}
    try mount.unmount()
  }
}
