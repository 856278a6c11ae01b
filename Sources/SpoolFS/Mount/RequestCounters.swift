internal import Synchronization

/// How many requests of each opcode one worker has taken. Only that worker counts, everybody may read.
final class RequestCounters: @unchecked Sendable {
  // @unchecked: the pointer is constant, what it points to is atomic.
  private static let capacity = 64
  private let counts: UnsafeMutablePointer<Atomic<UInt64>>

  init() {
    counts = .allocate(capacity: Self.capacity)
    for index in 0..<Self.capacity { (counts + index).initialize(to: Atomic(0)) }
  }

  deinit {
    counts.deinitialize(count: Self.capacity)
    counts.deallocate()
  }

  /// Counts one request. Opcodes beyond the table count as number 0, which the protocol does not use.
  func count(_ opcode: UInt32) {
    let index = opcode < UInt32(Self.capacity) ? Int(opcode) : 0
    // One writer: no read-modify-write needed.
    counts[index].store(counts[index].load(ordering: .relaxed) &+ 1, ordering: .relaxed)
  }

  /// Takes over what another worker has counted, which has ended.
  func add(_ other: RequestCounters) {
    for index in 0..<Self.capacity {
      counts[index].wrappingAdd(other.counts[index].load(ordering: .relaxed), ordering: .relaxed)
    }
  }

  func value(of opcode: Opcode) -> UInt64 { counts[Int(opcode.rawValue)].load(ordering: .relaxed) }

  var unknown: UInt64 { counts[0].load(ordering: .relaxed) }
}
