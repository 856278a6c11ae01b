/// The entries of one directory: found by name in O(1), listed from the newest to the oldest.
///
/// A cookie is given once, grows with every new entry and never changes. So a listing that goes on after other entries
/// came and went neither skips nor repeats one that stayed. It also ends: an entry that is made meanwhile has a larger
/// cookie than all that are still to be listed.
///
/// All of it is protected by the lock of the inode it belongs to; exclusivity is unchecked as there.
final class Directory {
  struct Entry {
    let name: FileName
    let inode: Inode
  }

  /// Where an entry lies. Name and inode are nil once it was removed; its cookie stays for the binary search.
  ///
  /// Apart, so that who wants the one does not retain and release the other.
  private struct Slot {
    var name: FileName?
    var inode: Inode?
    let cookie: UInt64
    /// Unspecified where there is no index.
    var hash: UInt32

    var entry: Entry? {
      guard let name, let inode else { return nil }
      return Entry(name: name, inode: inode)
    }
  }

  /// Cookies 1 and 2 are "." and "..". A listing that has come to one of them has all entries before it.
  static let firstCookie: UInt64 = 3

  /// In the order of their cookies.
  @exclusivity(unchecked) private var slots: ContiguousArray<Slot> = []
  /// Open addressing with linear probing: slot number + 1, 0 where empty. Its count is a power of two, or zero: few names
  /// are found sooner by looking at each than by a hash.
  @exclusivity(unchecked) private var index: ContiguousArray<UInt32> = []
  @exclusivity(unchecked) private var nextCookie = firstCookie

  /// Number of entries, "." and ".." not counted.
  @exclusivity(unchecked) private(set) var count = 0

  var isEmpty: Bool { count == 0 }

  /// What the following functions look for. It stays right when the directory changes.
  func key(for name: UnsafeRawBufferPointer) -> NameKey {
    NameKey(bytes: name, knownHash: index.isEmpty ? nil : NameKey.hash(of: name))
  }

  /// - Complexity: O(1).
  func find(_ name: NameKey) -> Inode? {
    guard let slot = find(name)?.slot else { return nil }
    return slots[slot].inode
  }

  /// Bytes that the next entry takes beyond its own, as tables have to grow for it; most often 0.
  @inline(__always)
  var growth: Int {
    guard slots.count == slots.capacity || (count + 1) * 4 > index.count * 3 else { return 0 }
    return 2 * slots.count * MemoryLayout<Slot>.stride + 4 * index.count * MemoryLayout<UInt32>.stride
  }

  /// Adds an entry whose name, that of the key, is not there yet.
  ///
  /// - Complexity: amortised O(1).
  func insert(_ name: FileName, _ key: NameKey, _ inode: Inode) {
    makeRoom()
    let hash = index.isEmpty ? 0 : key.hash
    slots.append(Slot(name: name, inode: inode, cookie: nextCookie, hash: hash))
    nextCookie += 1
    count += 1
    if !index.isEmpty { addToIndex(slot: slots.count - 1, hash: hash) }
  }

  /// Points an existing entry to another inode. It keeps its cookie.
  ///
  /// - Returns: the inode it pointed to.
  func replace(_ name: NameKey, with inode: Inode) -> Inode? {
    guard let slot = find(name)?.slot else { return nil }
    let old = slots[slot].inode
    slots[slot].inode = inode
    return old
  }

  /// - Complexity: amortised O(1).
  ///
  /// - Returns: the inode it pointed to.
  @discardableResult
  func remove(_ name: NameKey) -> Inode? {
    guard let (slot, place) = find(name) else { return nil }
    let removed = slots[slot].inode
    slots[slot].name = nil
    slots[slot].inode = nil
    count -= 1
    if let place { closeGap(at: place) }
    if count == 0 {
      clear()
    } else if slots.count > 2 * Self.mostUnhashed, slots.count > count * 2 {
      rebuild(capacity: count)
    }
    return removed
  }

  /// Calls `body` with each entry whose cookie is less than `cookie`, the newest first, until it returns false.
  ///
  /// - Complexity: O(log n) to begin, then linear in what is visited.
  func forEach(before cookie: UInt64 = .max, _ body: (Entry, UInt64) -> Bool) {
    var low = 0
    var high = slots.count
    while low < high {
      let middle = (low + high) / 2
      if slots[middle].cookie < cookie { low = middle + 1 } else { high = middle }
    }
    while low > 0 {
      low -= 1
      if let entry = slots[low].entry, !body(entry, slots[low].cookie) { return }
    }
  }

  /// Takes all entries out.
  func removeAll() -> [Entry] {
    let entries = slots.compactMap(\.entry)
    slots = []
    index = []
    count = 0
    return entries
  }

  /// Drops the removed slots of an empty directory. One that holds a few files at a time keeps its memory.
  private func clear() {
    if !index.isEmpty {
      slots = []
      index = []
    } else {
      slots.removeAll(keepingCapacity: true)
    }
  }

  // MARK: - Index

  /// Slots, removed ones among them, that are looked at one by one.
  private static let mostUnhashed = 16

  /// - Returns: the entry's slot, and where the index has it if there is one.
  private func find(_ name: NameKey) -> (slot: Int, place: Int?)? {
    if count == 0 { return nil }
    if index.isEmpty {
      // The latest first: what was made last is looked for most often.
      for slot in slots.indices.reversed() where has(slot, name.bytes) { return (slot, nil) }
      return nil
    }
    let hash = name.hash
    let mask = index.count - 1
    var place = Int(hash) & mask
    while index[place] != 0 {
      let slot = Int(index[place]) - 1
      if slots[slot].hash == hash, has(slot, name.bytes) { return (slot, place) }
      place = (place + 1) & mask
    }
    return nil
  }

  @inline(__always)
  private func has(_ slot: Int, _ name: UnsafeRawBufferPointer) -> Bool {
    slots.withUnsafeBufferPointer { slots in
      guard let own = slots[slot].name else { return false }
      return Unmanaged.passUnretained(own)._withUnsafeGuaranteedRef { $0.equals(name) }
    }
  }

  private func addToIndex(slot: Int, hash: UInt32) {
    let mask = index.count - 1
    var place = Int(hash) & mask
    while index[place] != 0 { place = (place + 1) & mask }
    index[place] = UInt32(slot + 1)
  }

  /// Moves later members of a probe sequence forward, so that no tombstones are needed.
  private func closeGap(at start: Int) {
    let mask = index.count - 1
    var gap = start
    var place = (gap + 1) & mask
    while index[place] != 0 {
      let home = Int(slots[Int(index[place]) - 1].hash) & mask
      if (place - home) & mask >= (place - gap) & mask {
        index[gap] = index[place]
        gap = place
      }
      place = (place + 1) & mask
    }
    index[gap] = 0
  }

  /// Makes room for one more.
  private func makeRoom() {
    if index.isEmpty ? slots.count >= Self.mostUnhashed : (count + 1) * 4 > index.count * 3 {
      rebuild(capacity: count + 1)
    }
  }

  /// Drops the removed slots and, for more than a few, makes room in the index for `capacity` entries and as many again.
  private func rebuild(capacity: Int) {
    if slots.count != count { slots = ContiguousArray(slots.lazy.filter { $0.name != nil }) }
    let hadHashes = !index.isEmpty
    if capacity * 2 <= Self.mostUnhashed {
      index = []
      return
    }
    var places = 2 * Self.mostUnhashed
    while places * 3 < capacity * 4 + 4 { places *= 2 }
    index = ContiguousArray(repeating: 0, count: places)
    for slot in slots.indices {
      if !hadHashes { slots[slot].hash = slots[slot].name!.withBytes(NameKey.hash) }
      addToIndex(slot: slot, hash: slots[slot].hash)
    }
  }
}

/// A name that is looked for in a directory. Hashed when it is made, if the directory has an index then; otherwise whenever
/// the hash is needed.
struct NameKey {
  let bytes: UnsafeRawBufferPointer
  fileprivate let knownHash: UInt32?

  fileprivate var hash: UInt32 { knownHash ?? Self.hash(of: bytes) }

  /// Seeded per process, so that nobody can prepare names that collide.
  fileprivate static func hash(of name: UnsafeRawBufferPointer) -> UInt32 {
    var hasher = Hasher()
    hasher.combine(bytes: name)
    return UInt32(truncatingIfNeeded: hasher.finalize())
  }
}
