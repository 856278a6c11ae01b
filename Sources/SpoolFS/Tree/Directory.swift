/// The entries of one directory: found by name in O(1), listed in the order of their cookies.
///
/// A cookie is given once, grows with every new entry and never changes, so a listing that goes on after other entries
/// came and went neither skips nor repeats one that stayed.
///
/// All of it is protected by the lock of the inode it belongs to; exclusivity is unchecked as there.
final class Directory {
  struct Entry {
    let name: FileName
    let inode: Inode
  }

  /// Where an entry lies. `entry` is nil once it was removed; its cookie stays for the binary search.
  private struct Slot {
    var entry: Entry?
    let cookie: UInt64
    let hash: UInt32
  }

  /// Cookies 1 and 2 are "." and "..".
  static let firstCookie: UInt64 = 3

  /// In the order of their cookies.
  @exclusivity(unchecked) private var slots: ContiguousArray<Slot> = []
  /// Open addressing with linear probing: slot number + 1, 0 where empty. Its count is a power of two, or zero.
  @exclusivity(unchecked) private var index: ContiguousArray<UInt32> = []
  @exclusivity(unchecked) private var nextCookie = firstCookie

  /// Number of entries, "." and ".." not counted.
  @exclusivity(unchecked) private(set) var count = 0

  var isEmpty: Bool { count == 0 }

  /// - Complexity: O(1).
  func find(_ name: NameKey) -> Inode? {
    guard let place = place(of: name) else { return nil }
    return slots[Int(index[place]) - 1].entry?.inode
  }

  /// The same, with no need for a hash where there are no names.
  func find(_ name: UnsafeRawBufferPointer) -> Inode? { isEmpty ? nil : find(NameKey(name)) }

  /// Adds an entry whose name is not there yet.
  ///
  /// - Complexity: amortised O(1).
  ///
  /// - Parameter hash: that of the name's key.
  func insert(_ name: FileName, hash: UInt32, _ inode: Inode) {
    if (count + 1) * 4 > index.count * 3 { rebuild(capacity: count + 1) }
    slots.append(Slot(entry: Entry(name: name, inode: inode), cookie: nextCookie, hash: hash))
    nextCookie += 1
    count += 1
    addToIndex(slot: slots.count - 1, hash: hash)
  }

  /// Points an existing entry to another inode. It keeps its cookie.
  ///
  /// - Returns: the inode it pointed to.
  func replace(_ name: NameKey, with inode: Inode) -> Inode? {
    guard let place = place(of: name) else { return nil }
    let slot = Int(index[place]) - 1
    guard let old = slots[slot].entry else { return nil }
    slots[slot].entry = Entry(name: old.name, inode: inode)
    return old.inode
  }

  /// - Complexity: amortised O(1).
  func remove(_ name: NameKey) -> Entry? {
    guard let place = place(of: name) else { return nil }
    let slot = Int(index[place]) - 1
    let removed = slots[slot].entry
    slots[slot].entry = nil
    count -= 1
    closeGap(at: place)
    if count == 0 {
      clear()
    } else if slots.count > 32, slots.count > count * 2 {
      rebuild(capacity: count)
    }
    return removed
  }

  /// Calls `body` with each entry whose cookie is greater than `cookie`, until it returns false.
  ///
  /// - Complexity: O(log n) to begin, then linear in what is visited.
  func forEach(after cookie: UInt64, _ body: (Entry, UInt64) -> Bool) {
    var low = 0
    var high = slots.count
    while low < high {
      let middle = (low + high) / 2
      if slots[middle].cookie <= cookie { low = middle + 1 } else { high = middle }
    }
    while low < slots.count {
      if let entry = slots[low].entry, !body(entry, slots[low].cookie) { return }
      low += 1
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

  /// Drops the removed slots of an empty directory. One that holds a file at a time keeps its memory.
  private func clear() {
    if index.count > Self.fewestPlaces {
      slots = []
      index = []
    } else {
      slots.removeAll(keepingCapacity: true)
    }
  }

  // MARK: - Index

  private static let fewestPlaces = 8

  private func place(of name: NameKey) -> Int? {
    if count == 0 { return nil }
    let mask = index.count - 1
    var place = Int(name.hash) & mask
    while index[place] != 0 {
      let slot = Int(index[place]) - 1
      if slots[slot].hash == name.hash, slots[slot].entry?.name.equals(name.bytes) == true { return place }
      place = (place + 1) & mask
    }
    return nil
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

  /// Drops the removed slots and makes room in the index for `capacity` entries and as many again.
  private func rebuild(capacity: Int) {
    if slots.count != count { slots = ContiguousArray(slots.lazy.filter { $0.entry != nil }) }
    var places = Self.fewestPlaces
    while places * 3 < capacity * 4 + 4 { places *= 2 }
    index = ContiguousArray(repeating: 0, count: places)
    for slot in slots.indices { addToIndex(slot: slot, hash: slots[slot].hash) }
  }
}
