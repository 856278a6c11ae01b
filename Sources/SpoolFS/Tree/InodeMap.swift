/// Inodes by their number.
///
/// A `Dictionary` would hash each number so that nobody can prepare ones that collide; that is a tenth of what a request takes.
/// These are counted up by us. They must be spread still: side by side, inodes that were made one after another would be one
/// long probe sequence, which removing from its beginning walks to its end.
struct InodeMap {
  private static let fewestPlaces = 8

  /// Open addressing with linear probing; the count is a power of two, or zero.
  private var places: ContiguousArray<Inode?> = []
  private(set) var count = 0
  /// How far to shift a product for its highest bits to be a place.
  private var shift: UInt64 = 64

  /// - Complexity: O(1).
  func find(_ id: UInt64) -> Inode? {
    guard count > 0 else { return nil }
    return places[place(of: id)]
  }

  /// Adds an inode whose number is not there yet.
  ///
  /// - Complexity: amortised O(1).
  mutating func insert(_ inode: Inode) {
    if (count + 1) * 4 > places.count * 3 { rebuild(capacity: max(Self.fewestPlaces, places.count * 2)) }
    places[place(of: inode.id)] = inode
    count += 1
  }

  /// - Complexity: amortised O(1).
  mutating func remove(_ id: UInt64) -> Inode? {
    guard count > 0 else { return nil }
    let place = place(of: id)
    guard let inode = places[place] else { return nil }
    closeGap(at: place)
    count -= 1
    if places.count > Self.fewestPlaces, count * 8 < places.count { rebuild(capacity: places.count / 2) }
    return inode
  }

  /// The numbers of those that `isIncluded` wants.
  func numbers(where isIncluded: (Inode) -> Bool) -> [UInt64] {
    places.compactMap { inode in inode.flatMap { isIncluded($0) ? $0.id : nil } }
  }

  /// Takes all of them out.
  mutating func removeAll() -> [Inode] {
    defer {
      places = []
      count = 0
    }
    return places.compactMap { $0 }
  }

  /// Fibonacci hashing: multiples of the golden ratio fall far apart from each other.
  private func home(of id: UInt64) -> Int { Int(truncatingIfNeeded: (id &* 0x9e37_79b9_7f4a_7c15) &>> shift) }

  /// Where the inode is, or else the empty place where it would be put.
  private func place(of id: UInt64) -> Int {
    var place = home(of: id)
    while let inode = places[place], inode.id != id { place = (place + 1) & (places.count - 1) }
    return place
  }

  /// Moves later members of a probe sequence forward, so that no tombstones are needed.
  private mutating func closeGap(at start: Int) {
    let mask = places.count - 1
    var gap = start
    var place = (gap + 1) & mask
    while let inode = places[place] {
      if (place - home(of: inode.id)) & mask >= (place - gap) & mask {
        places[gap] = inode
        gap = place
      }
      place = (place + 1) & mask
    }
    places[gap] = nil
  }

  private mutating func rebuild(capacity: Int) {
    let old = places
    places = ContiguousArray(repeating: nil, count: capacity)
    shift = UInt64(64 - capacity.trailingZeroBitCount)
    for case let inode? in old { places[place(of: inode.id)] = inode }
  }
}
