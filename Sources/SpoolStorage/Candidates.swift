/// Files that could give memory back, held weakly: those with chunks by moving to disk, or those with copies of what the disk
/// has not confirmed.
final class Candidates: Sendable {
  private static let shardCount = 16
  private let shards: [Shard]

  private final class Shard: @unchecked Sendable {  // `files` is protected by `lock`
    let lock = Lock()
    var files: [ObjectIdentifier: Entry] = [:]
  }

  private struct Entry {
    weak var file: FileContent?
  }

  init() { shards = (0..<Self.shardCount).map { _ in Shard() } }

  func insert(_ file: FileContent) {
    let shard = shard(of: ObjectIdentifier(file))
    shard.lock.withLock { shard.files[ObjectIdentifier(file)] = Entry(file: file) }
  }

  /// Also called from the file's `deinit`, so it takes the identity and not the file.
  func remove(_ file: ObjectIdentifier) {
    let shard = shard(of: file)
    shard.lock.withLock { _ = shard.files.removeValue(forKey: file) }
  }

  /// The store of the files; nil when there is none.
  var store: SpoolStore? {
    for shard in shards {
      // The reference is dropped outside the lock, as below.
      let file = shard.lock.withLock { () -> FileContent? in
        for entry in shard.files.values {
          if let file = entry.file { return file }
        }
        return nil
      }
      // The file holds its store: it must not go before there is a reference to that.
      if let file { return withExtendedLifetime(file) { file.store } }
    }
    return nil
  }

  /// All files. References are the caller's, and none is dropped with a lock held.
  func all() -> [FileContent] {
    shards.flatMap { shard in shard.lock.withLock { shard.files.values.compactMap(\.file) } }
  }

  /// A file that is worth spilling. Weak, so that a file that is deleted meanwhile is gone at once.
  struct Victim {
    weak var file: FileContent?
    let score: Double

    @inline(never)  // so that the reference is gone when it returns
    func spill() -> FileContent.SpillOutcome { file?.spillIfIdle() ?? .unsuitable }
  }

  /// The files worth spilling first, best last: those with the largest product of idle time and memory.
  ///
  /// - Complexity: O(candidates).
  func victims(atMost limit: Int, now: UInt32, excluding excluded: FileContent?) -> [Victim] {
    var victims: [Victim] = []
    for shard in shards {
      // References are dropped outside the lock: the last one of a file runs its `deinit`, which takes the lock.
      let files = shard.lock.withLock { shard.files.values.compactMap(\.file) }
      for file in files where file !== excluded {
        victims.append(Victim(file: file, score: file.spillScore(now: now)))
      }
      if victims.count > 4 * limit { Self.keep(limit, of: &victims) }
    }
    Self.keep(limit, of: &victims)
    victims.reverse()
    return victims
  }

  private static func keep(_ limit: Int, of victims: inout [Victim]) {
    victims.sort { $0.score > $1.score }
    if victims.count > limit { victims.removeLast(victims.count - limit) }
  }

  private func shard(of file: ObjectIdentifier) -> Shard {
    let address = UInt(bitPattern: file)
    return shards[Int((address >> 4 ^ address >> 12) % UInt(Self.shardCount))]
  }
}
