/// A radix tree from chunk numbers to words that are not zero, 64 children per node.
struct ChunkTree: ~Copyable {
  /// A node is 65 words: a bitmap of the children that are not zero, then the children, which are the addresses of
  /// nodes or, at level 0, the values.
  private typealias Node = UnsafeMutablePointer<UInt64>

  private var root: Node?
  /// The level of the root: a node of level n covers 64^(n+1) numbers.
  private var level: Int64 = 0

  init() {}

  var isEmpty: Bool { root == nil }

  deinit {
    if let root { Self.free(root, level) }
  }

  subscript(index: Int64) -> UInt64 {
    @inline(__always)
    get {
      guard var node = root, index >> (6 * level + 6) == 0 else { return 0 }
      var shift = 6 * level
      while shift > 0 {
        guard let child = Self.child(node, index >> shift) else { return 0 }
        node = child
        shift -= 6
      }
      return node[Self.slot(index)]
    }
    set {
      if newValue == 0 {
        guard let root, index >> (6 * level + 6) == 0 else { return }
        if Self.remove(index, root, level) {
          root.deallocate()
          self.root = nil
          level = 0
        }
      } else {
        insert(newValue, at: index)
      }
    }
  }

  /// The first number at or after `index` that has a value.
  func next(from index: Int64) -> Int64? {
    guard let root, index >> (6 * level + 6) == 0 else { return nil }
    return Self.next(from: index, root, level)
  }

  private mutating func insert(_ value: UInt64, at index: Int64) {
    var node = root ?? Self.makeNode()
    while index >> (6 * level + 6) != 0 {
      if node[0] != 0 {
        let parent = Self.makeNode()
        Self.set(parent, 0, UInt64(UInt(bitPattern: node)))
        node = parent
      }
      level += 1
    }
    root = node
    var shift = 6 * level
    while shift > 0 {
      if let child = Self.child(node, index >> shift) {
        node = child
      } else {
        let child = Self.makeNode()
        Self.set(node, index >> shift, UInt64(UInt(bitPattern: child)))
        node = child
      }
      shift -= 6
    }
    Self.set(node, index, value)
  }

  /// Removes what is at `index`. True if that leaves the node with nothing.
  private static func remove(_ index: Int64, _ node: Node, _ level: Int64) -> Bool {
    if level > 0 {
      guard let child = child(node, index >> (6 * level)), remove(index, child, level - 1) else { return false }
      child.deallocate()
    }
    set(node, index >> (6 * level), 0)
    return node[0] == 0
  }

  private static func next(from index: Int64, _ node: Node, _ level: Int64) -> Int64? {
    let shift = 6 * level
    let first = (index >> shift) & 63
    var occupied = node[0] & (UInt64.max << UInt64(first))
    while occupied != 0 {
      let position = Int64(occupied.trailingZeroBitCount)
      occupied &= occupied - 1
      let base = (index >> (shift + 6)) << (shift + 6) | position << shift
      if level == 0 { return base }
      // Inside the first child the search starts where it was asked to, in later ones at their beginning.
      let start = position == first ? index : base
      if let child = child(node, position), let found = next(from: start, child, level - 1) { return found }
    }
    return nil
  }

  private static func free(_ node: Node, _ level: Int64) {
    if level > 0 {
      var occupied = node[0]
      while occupied != 0 {
        if let child = child(node, Int64(occupied.trailingZeroBitCount)) { free(child, level - 1) }
        occupied &= occupied - 1
      }
    }
    node.deallocate()
  }

  private static func makeNode() -> Node {
    let node = Node.allocate(capacity: 65)
    node.initialize(repeating: 0, count: 65)
    return node
  }

  @inline(__always)
  private static func slot(_ index: Int64) -> Int { Int(index & 63) + 1 }

  @inline(__always)
  private static func child(_ node: Node, _ index: Int64) -> Node? {
    Node(bitPattern: UInt(node[slot(index)]))
  }

  @inline(__always)
  private static func set(_ node: Node, _ index: Int64, _ value: UInt64) {
    node[slot(index)] = value
    let bit = UInt64(1) << UInt64(index & 63)
    node[0] = value == 0 ? node[0] & ~bit : node[0] | bit
  }
}
