// Debug builds look after the order in which locks are taken: two threads that take the same two in opposite orders wait
// for each other one day, and a test that does not meet that moment passes. So the order itself is the fault.
//
// A class of locks is all locks that are made at one place of the source. An edge of the graph says that a thread held a
// lock of one class while it waited for one of another. A cycle ends the process. Two locks of one class are no edge, since
// their order is one of objects (an ancestor's before its descendants'); that a thread takes the same lock twice is seen.

#if DEBUG
  internal import CSpoolSystem
  internal import Synchronization

  /// All locks that are made at one place of the source.
  package struct LockClass: Sendable {
    private let number: UInt16

    package init(file: StaticString, line: UInt) { number = LockGraph.number(of: file, line) }

    /// Before the thread waits for the lock at `address`.
    borrowing func willLock(_ address: UnsafeRawPointer) {
      let held = spool_held_locks()!
      for index in 0..<Int(held.pointee.count) {
        let lock = spool_held_lock_at(held, UInt32(index))!
        if lock.pointee.address == address { LockGraph.fail("\(LockGraph.name(number)) is taken twice by one thread") }
        LockGraph.connect(UInt16(lock.pointee.lock_class), number)
      }
      didLock(address)
    }

    /// After the thread got the lock at `address` without waiting, which cannot hang; what it waits for next can.
    borrowing func didLock(_ address: UnsafeRawPointer) {
      if spool_push_held_lock(address, UInt32(number)) == 0 { LockGraph.fail("a thread holds too many locks") }
    }

    borrowing func willUnlock(_ address: UnsafeRawPointer) {
      if spool_drop_held_lock(address) == 0 {
        LockGraph.fail("\(LockGraph.name(number)) is given up by a thread that does not hold it")
      }
    }
  }

  /// Which class was ever waited for with which other held.
  private enum LockGraph {
    private static let limit = 256
    private static let sites = Sites(limit: limit)
    /// Whether `second` was waited for with `first` held: at `first * limit + second`.
    private static let edges = Edges(count: limit * limit)

    static func number(of file: StaticString, _ line: UInt) -> UInt16 { sites.number(of: file, line) }
    static func name(_ number: UInt16) -> String { sites.name(number) }

    static func connect(_ first: UInt16, _ second: UInt16) {
      guard first != second, !edges[Int(first) * limit + Int(second)] else { return }
      if let path = path(from: second, to: first) {
        fail(
          """
          \(name(second)) is waited for with \(name(first)) held; the other way round before: \
          \(path.map(name).joined(separator: ", then "))
          """)
      }
      edges[Int(first) * limit + Int(second)] = true
    }

    /// The classes on a way along edges, both ends included; nil if there is none.
    private static func path(from start: UInt16, to end: UInt16) -> [UInt16]? {
      var cameFrom: [UInt16: UInt16] = [start: start]
      var next = [start]
      while let here = next.popLast() {
        if here == end {
          var path = [end]
          while let last = path.last, last != start { path.append(cameFrom[last]!) }
          return path.reversed()
        }
        for there in 0..<sites.count
        where edges[Int(here) * limit + Int(there)] && cameFrom[there] == nil {
          cameFrom[there] = here
          next.append(there)
        }
      }
      return nil
    }

    static func fail(_ text: String) -> Never { fatalError("lock order: \(text)") }
  }

  /// Flags that threads set and never clear.
  private struct Edges: @unchecked Sendable {
    // @unchecked: the pointer is never changed, and what it points to is atomic.
    private let flags: UnsafeMutablePointer<Atomic<Bool>>

    init(count: Int) {
      flags = .allocate(capacity: count)
      for index in 0..<count { (flags + index).initialize(to: Atomic(false)) }
    }

    subscript(index: Int) -> Bool {
      get { flags[index].load(ordering: .relaxed) }
      nonmutating set { flags[index].store(newValue, ordering: .relaxed) }
    }
  }

  /// The places of the source that make locks, numbered in the order in which they are met.
  private final class Sites: Sendable {
    private struct Site: Hashable {
      let file: String
      let line: UInt
    }

    private let limit: Int
    private let known = Mutex<[Site]>([])
    /// A literal's address and a line, mixed: found without a lock, as most locks are made where many were made before.
    private let keys: UnsafeTable
    private let seen = Atomic<UInt16>(0)

    init(limit: Int) {
      self.limit = limit
      keys = UnsafeTable(count: 4 * limit)
    }

    var count: UInt16 { seen.load(ordering: .acquiring) }

    func name(_ number: UInt16) -> String { known.withLock { "\($0[Int(number)].file):\($0[Int(number)].line)" } }

    func number(of file: StaticString, _ line: UInt) -> UInt16 {
      let key = (UInt64(UInt(bitPattern: file.utf8Start)) &+ UInt64(line) << 48) | 1
      if let number = keys.find(key) { return number }
      return known.withLock { sites in
        // One literal has an address for each module that it is compiled into.
        let site = Site(file: file.description, line: line)
        let number = sites.firstIndex(of: site) ?? sites.count
        if number == sites.count {
          if number == limit { LockGraph.fail("more than \(limit) places make locks") }
          sites.append(site)
          seen.store(UInt16(sites.count), ordering: .releasing)
        }
        keys.insert(key, UInt16(number))
        return UInt16(number)
      }
    }
  }

  /// A hash table that is read without a lock. What does not fit is left out.
  private struct UnsafeTable: @unchecked Sendable {
    // @unchecked: the pointers are never changed, and what they point to is atomic. One thread at a time inserts.
    private let keys: UnsafeMutablePointer<Atomic<UInt64>>
    private let values: UnsafeMutablePointer<Atomic<UInt16>>
    private let count: Int

    init(count: Int) {
      self.count = count
      keys = .allocate(capacity: count)
      values = .allocate(capacity: count)
      for index in 0..<count {
        (keys + index).initialize(to: Atomic(0))
        (values + index).initialize(to: Atomic(0))
      }
    }

    private func start(_ key: UInt64) -> Int { Int(truncatingIfNeeded: (key &* 0x9e37_79b9_7f4a_7c15) >> 33) % count }

    func find(_ key: UInt64) -> UInt16? {
      var index = start(key)
      for _ in 0..<count {
        let found = keys[index].load(ordering: .acquiring)
        if found == key { return values[index].load(ordering: .relaxed) }
        if found == 0 { return nil }
        index = (index + 1) % count
      }
      return nil
    }

    func insert(_ key: UInt64, _ value: UInt16) {
      var index = start(key)
      for _ in 0..<count {
        let found = keys[index].load(ordering: .relaxed)
        if found == key { return }
        if found == 0 {
          values[index].store(value, ordering: .relaxed)
          keys[index].store(key, ordering: .releasing)
          return
        }
        index = (index + 1) % count
      }
    }
  }
#endif
