internal import Glibc
package import SpoolStorage

/// How many bytes a writer may be ahead of a mount with a write-back cache, in dirty pages that the kernel holds.
///
/// Dirty pages belong to the control group of the writer. A group that can hold nothing but dirty pages has none to give
/// up, so the kernel kills one of its processes, and often the server, whose files are then gone.
struct DirtyLimit {
  /// So many that small files are not slowed down, and so few that a large one is taken over while it is written, and
  /// not only when it is closed.
  static let maximum = 128 << 20
  /// Below this a limit slows every writer down.
  private static let minimum = 1 << 20

  /// What a control group of this process can hold: a quarter of its memory.
  private let group: Int
  /// What the tree may be exceeded by before anybody is told that it is full: a sixteenth of its size.
  private let tree: Int

  /// - Parameters:
  ///   - memory: Bytes of memory that this process may use.
  ///   - treeSize: Bytes that the tree can hold; nil without a limit.
  init(memory: Int64 = usableMemory(), treeSize: Int64?) {
    group = Int(clamping: memory / 4)
    tree = treeSize.map { Int(clamping: $0 / 16) } ?? .max
  }

  /// Bytes that root's mount sets for itself.
  var bytes: Int { max(Self.minimum, min(Self.maximum, group, tree)) }

  /// Whether a mount works well with a limit that it cannot change. A tree may be exceeded by more than where the limit
  /// can be set: the writers of a nearly full tree are asked to wait for what is dirty.
  func allows(_ fixed: Int) -> Bool { fixed <= group && fixed / 4 <= tree }

  /// The limit of FUSE's mounts where nobody changes it: 1 % of the dirty pages that the kernel allows in all, which
  /// are a part of the memory that is available, counted here as all memory.
  static func kernelDefault(
    memory: Int64 = physicalMemory(), reading read: (String) -> String? = contentsOfSystemFile
  ) -> Int {
    func number(_ name: String) -> Int64? {
      read("/proc/sys/vm/" + name).flatMap { Int64($0.filter(\.isNumber)) }
    }
    if let bytes = number("dirty_bytes"), bytes > 0 { return Int(clamping: bytes / 100) }
    return Int(clamping: memory / 100 * (number("dirty_ratio") ?? 20) / 100)
  }
}

extension MountOptions.Cache {
  /// What suits programs that use such a tree through its mount alone.
  ///
  /// `writeback`, where the kernel can be kept from holding more dirty pages than this process's control group can
  /// bear and the tree has room for; `writethrough` elsewhere.
  package static func suited(to storage: SpoolConfiguration) -> MountOptions.Cache {
    if BackingDevice.canLimitBytes { return .writeback }
    let limit = DirtyLimit(treeSize: storage.dataLimit)
    return limit.allows(DirtyLimit.kernelDefault()) ? .writeback : .writethrough
  }
}
