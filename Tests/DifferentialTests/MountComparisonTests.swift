import CHostCalls
import Glibc
import SpoolFS
import SpoolStorage
import Synchronization
import SystemPackage
import TestSupport
import Testing

/// The same scripts through the kernel: on a mount of ours and on a tmpfs.
@Suite("A mount does what tmpfs does", .serialized, .enabled(if: geteuid() == 0, "mounting a tmpfs takes root"))
struct MountComparisonTests {
  @Test("as root, files crossing the threshold", arguments: MountOptions.Cache.allCases, [Int64(0), 50_000])
  func root(cache: MountOptions.Cache, threshold: Int64) throws {
    let seed = Comparison.seed(threshold % 7)
    let options = MountOptions(cache: cache)
    try compare(Comparison(seed: seed, steps: 8_000), .init(threshold: .bytes(threshold)), options)
  }

  @Test("as several users, checked by the kernel", arguments: MountOptions.Cache.allCases)
  func severalUsers(cache: MountOptions.Cache) throws {
    let options = MountOptions(cache: cache, allowOther: true)
    let comparison = Comparison(
      seed: Comparison.seed(100), steps: 8_000, users: scriptUsers.count, largestSize: 50_000)
    try compare(comparison, .init(threshold: .bytes(30_000)), options)
  }

  @Test("with a MiB of memory, the rest encrypted on disk", arguments: MountOptions.Cache.allCases)
  func smallMemory(cache: MountOptions.Cache) throws {
    let storage = SpoolConfiguration(memoryBudget: 1 << 20, encryptsSpill: true)
    try compare(Comparison(seed: Comparison.seed(200), steps: 8_000), storage, MountOptions(cache: cache))
  }

  @Test("on a disk that refuses late every third of what it has taken", arguments: MountOptions.Cache.allCases)
  func lateDisk(cache: MountOptions.Cache) throws {
    let disk = try FaultyDisk()
    disk.order(.refuseSome(.ioError, of: 3))
    // What is refused stays in memory: there is room for all of the script's files.
    let storage = SpoolConfiguration(threshold: .bytes(0), memoryBudget: 64 << 20, spillDirectory: disk.path)
    let comparison = Comparison(seed: Comparison.seed(300), steps: 4_000, mayAllocate: false)
    try compare(comparison, storage, MountOptions(cache: cache))
    disk.end()
  }

  @Test("by four clients at once", arguments: MountOptions.Cache.allCases)
  func fourClients(cache: MountOptions.Cache) throws {
    let storage = SpoolConfiguration(threshold: .bytes(50_000), memoryBudget: 2 << 20)
    let comparisons = (0..<4).map { Comparison(seed: Comparison.seed(400 + $0), steps: 2_000) }
    try compare(comparisons, storage, MountOptions(cache: cache))
  }

  private func compare(_ comparison: Comparison, _ storage: SpoolConfiguration, _ options: MountOptions) throws {
    try compare([comparison], storage, options)
  }

  /// Runs each script on a thread and in a directory of its own, all at once.
  private func compare(_ comparisons: [Comparison], _ storage: SpoolConfiguration, _ options: MountOptions) throws {
    var template = Array("/tmp/spoolfs-compared-XXXXXX".utf8CString)
    let path = try #require(mkdtemp(&template).map { String(cString: $0) })
    defer { rmdir(path) }
    let tree = try FileSystem(
      FileSystem.Configuration(storage: storage, rootMode: FilePermissions(rawValue: 0o755)))
    let mount = try tree.mount(at: FilePath(path), options: options)
    defer { try? mount.unmount(lazily: true) }
    let references = try comparisons.map { _ in try ReferenceTmpfs() }
    let directories = comparisons.indices.map { comparisons.count == 1 ? "" : "client\($0)" }
    for directory in directories where !directory.isEmpty {
      try #require(mkdir("\(path)/\(directory)", 0o755) == 0)
    }
    let clients = comparisons.indices.map { number in
      Client(
        comparison: comparisons[number], path: "\(path)/\(directories[number])", reference: references[number].path,
        tree: tree, directory: FilePath(directories[number]), cache: options.cache)
    }
    try runAtOnce(clients)
    withExtendedLifetime(references) {}
    try mount.unmount()
  }

  private func runAtOnce(_ clients: [Client]) throws {
    let failures = Mutex<[any Error]>([])
    runThreads(clients.count) { number in
      do { try clients[number].run() } catch { failures.withLock { $0.append(error) } }
    }
    if let failure = failures.withLock({ $0.first }) { throw failure }
  }
}

/// One script, its directory in a mount, and the tmpfs that it is compared with.
private struct Client: Sendable {
  let comparison: Comparison
  let path: String
  let reference: String
  let tree: FileSystem
  /// The directory in the tree; empty is the root.
  let directory: FilePath
  let cache: MountOptions.Cache

  func run() throws {
    try onThread {
      let order = StampOrder()
      let subject = HostSubject(
        path, syncsBeforeSnapshot: cache == .writeback, comparesBlocks: cache != .writeback, stampOrder: order
      ) { path in
        let found = try? tree.metadata(of: directory.appending(path), followingSymbolicLinks: false)
        return found.map { [$0.modified, $0.changed].map { $0.seconds * 1_000_000_000 + Int64($0.nanoseconds) } }
      }
      comparison.run(
        subject, HostSubject(reference, comparesBlocks: cache != .writeback, stampOrder: order))
    }
  }
}
