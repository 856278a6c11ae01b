internal import CSpoolSystem
import SpoolStorage
internal import Synchronization
internal import SystemPackage

/// Whether a write(2) that has been allowed will find space when the kernel sends it: delayed allocation for a write-back mount.
///
/// The kernel takes what programs write and sends it later. What then does not fit is lost, and only close(2) tells. So when
/// less space is left than the kernel may hold, the answers about files are valid for no time: the kernel then asks for
/// attributes before each write(2), and that question can be answered with ENOSPC. Far from a limit nothing is asked.
///
/// Stores to a mapping come late in every cache mode. They ask nothing, but a page must be read before it is stored to: where
/// a page fault reads a hole, the page counts as reserved, and where there is no room the program gets SIGBUS, as on tmpfs.
final class SpaceWatch: @unchecked Sendable {
  // @unchecked: `reservations` and `unasked` are protected by `lock`, under which no other lock is taken.

  /// How many bytes the kernel may exceed its own limit of dirty pages by.
  private static let slack: Int64 = 8 << 20

  private let store: SpoolStore
  /// Bytes; less than this left is short.
  private let margin = Atomic<Int64>(0)
  private let short = Atomic<Bool>(false)
  private let asks = Atomic<Bool>(false)
  private let holdsWrites = Atomic<Bool>(false)
  private let refused = Atomic<Bool>(false)

  private let lock = Lock()
  private var reservations = WriteReservations()
  /// Bytes that the kernel may hold of writes that it did not ask about.
  private var unasked: Int64 = 0

  init(_ store: SpoolStore) { self.store = store }

  /// Whether less is left than the kernel may hold.
  @inline(__always)
  var isShort: Bool { short.load(ordering: .relaxed) }

  /// Whether the kernel is to ask before each write(2): under a writeback cache, where space is short.
  @inline(__always)
  var asksBeforeWrites: Bool { asks.load(ordering: .relaxed) }

  /// Whether questions before a write(2) may have another answer than the file's attributes.
  @inline(__always)
  var watchesWrites: Bool { asksBeforeWrites || refused.load(ordering: .relaxed) }

  /// A WRITE was refused; its writer is to hear of it.
  func noteRefusal() { refused.store(true, ordering: .relaxed) }

  /// Starts to watch a mount of which the kernel may hold that many bytes. Nothing has been written to it yet.
  ///
  /// - Parameter holdsWrites: whether it holds what programs write, and not only what they store to mappings.
  func start(dirtyLimit: Int64, holdsWrites: Bool) {
    self.holdsWrites.store(holdsWrites, ordering: .relaxed)
    margin.store(dirtyLimit + Self.slack, ordering: .relaxed)
    if store.isShort(of: dirtyLimit + Self.slack) { setShort(true) }
  }

  private func setShort(_ isShort: Bool) {
    short.store(isShort, ordering: .relaxed)
    asks.store(isShort && holdsWrites.load(ordering: .relaxed), ordering: .relaxed)
  }

  /// Looks whether space has got short after something took some of it.
  ///
  /// - Returns: whether it has just become so; the kernel must then be told to ask.
  @inline(__always)
  func becameShort() -> Bool {
    let margin = margin.load(ordering: .relaxed)
    guard store.isShort(of: margin), !isShort else { return false }
    return enter(margin)
  }

  @inline(never)
  private func enter(_ margin: Int64) -> Bool {
    lock.withLock {
      if isShort { return false }
      setShort(true)
      reservations = WriteReservations()
      unasked = asksBeforeWrites ? margin - Self.slack : 0
      return asksBeforeWrites
    }
  }

  /// Ends the questions where there is space again.
  func lookAgain() {
    let margin = margin.load(ordering: .relaxed)
    if store.isShort(of: margin + margin / 4) { return }
    lock.withLock { setShort(false) }
  }

  // MARK: - Requests

  /// A WRITE has brought these bytes of a file.
  func written(_ bytes: Range<Int64>, of inode: UInt64) {
    lock.withLock { reservations.written(bytes, of: inode) }
  }

  /// A file was cut.
  func cut(_ inode: UInt64, to size: Int64) {
    lock.withLock { reservations.cut(inode, to: size) }
  }

  /// The kernel does not know the file any more, and so holds nothing of it.
  func forgot(_ inode: UInt64) {
    lock.withLock { reservations.forget(inode) }
  }

  /// Whether storing to all of these bytes of a mapping would take space that is not reserved yet.
  func takesSpace(_ bytes: Range<Int64>, of inode: UInt64, _ content: FileContent) -> Bool {
    let missing = lock.withLock { reservations.missing(bytes, of: inode) }
    if missing.isEmpty { return false }
    return content.demand(of: missing, upTo: bytes.upperBound).pages > 0
  }

  /// A write(2) that the kernel asks about, or a page fault.
  struct Question {
    let inode: Inode
    let content: FileContent
    let thread: UInt32
    let bytes: Range<Int64>
    /// Whether it may write more than these.
    var isOpenEnded = false
    /// A page fault must be answered at once: the kernel cannot write back pages while it waits for one.
    var isFault = false
  }

  /// Where the file ends with what the kernel may hold of it.
  func end(of inode: Inode, _ content: FileContent) -> Int64 {
    max(content.size, lock.withLock { reservations.end(of: inode.id) })
  }

  /// Decides on a write(2), and reserves what it needs where it is allowed.
  func admission(of question: Question) -> WriteAdmission {
    let (id, bytes) = (question.inode.id, question.bytes)
    if bytes.isEmpty { return .admitted }
    let (missing, reservedMemory) = lock.withLock {
      let missing = reservations.missing(bytes, of: id)
      return (missing, reservations.memory(reservedIn: missing, of: id))
    }
    var demand = question.content.demand(of: missing, upTo: bytes.upperBound)
    demand.memory = max(0, demand.memory - reservedMemory)
    return lock.withLock {
      var state = WriteAdmission.State(reserved: reservations.total)
      if !question.isFault {
        state.unasked = unasked
        state.isIncomplete = reservations.isIncomplete || reservations.isFragmented(id)
      }
      let decision = WriteAdmission(demand, state) { store.hasRoom(for: demand, beside: $0) }
      if decision == .admitted {
        reservations.reserve(
          bytes, of: id, by: question.thread, at: coarseNanoseconds(),
          needsSpace: demand.pages > 0 || demand.memory > 0,
          needsMemory: demand.memory > 0, isOpenEnded: question.isOpenEnded)
      }
      return decision
    }
  }

  // MARK: - Writing back

  /// Whether there is room for these bytes of a file beside what is reserved.
  func fits(_ bytes: Range<Int64>, of inode: Inode, _ content: FileContent) -> Bool {
    let demand = content.demand(of: [bytes], upTo: bytes.upperBound)
    return lock.withLock {
      let own = reservations.missing(bytes, of: inode.id).isEmpty
      return own || store.hasRoom(for: demand, beside: reservations.total)
    }
  }

  /// What the kernel has to write back before a write(2) can be refused.
  struct WriteBack {
    fileprivate let outstanding: [WriteReservations.Outstanding]
    fileprivate let unasked: Int64
    /// Whether it is all that the kernel holds.
    var isOfAllFiles: Bool { unasked > 0 }
    /// Files and their bytes; nil: all of them.
    var parts: [(inode: UInt64, bytes: Range<Int64>?)] { outstanding.map { ($0.inode, $0.bytes) } }
  }

  func writeBack(askedBy thread: UInt32) -> WriteBack {
    lock.withLock {
      WriteBack(
        outstanding: reservations.outstanding(askedBy: thread, at: coarseNanoseconds()), unasked: unasked)
    }
  }

  /// The kernel has done so.
  func wroteBack(_ done: WriteBack) {
    lock.withLock {
      reservations.release(done.outstanding)
      unasked = max(0, unasked - done.unasked)
    }
  }
}

/// What is to become of a write(2).
enum WriteAdmission: Equatable {
  case admitted
  /// It fits only if the kernel holds less than has been reserved for it.
  case undecided
  /// ENOSPC.
  case refused

  struct State {
    var reserved = ReservedSpace()
    /// Bytes that the kernel may hold beside what is reserved.
    var unasked: Int64 = 0
    /// Whether what is reserved may be less than what the kernel holds.
    var isIncomplete = false

    var isExact: Bool { reserved == ReservedSpace() && unasked == 0 && !isIncomplete }
  }

  /// - Parameter hasRoom: whether the store has room for the demand beside so much reserved space.
  init(_ demand: SpaceDemand, _ state: State, _ hasRoom: (ReservedSpace) -> Bool) {
    if demand.pages == 0, demand.memory == 0 {
      self = .admitted
      return
    }
    var reserved = state.reserved
    reserved.pages += state.unasked / SpaceUnits.page
    reserved.memory += state.unasked
    if !state.isIncomplete, hasRoom(reserved) {
      self = .admitted
    } else {
      self = state.isExact ? .refused : .undecided
    }
  }
}

extension BackingDevice {
  /// Bytes that the kernel may hold of a mount under a writeback cache before it slows writers down.
  static func mayHoldDirty(major: Int, minor: Int) -> Int64 {
    // Linux 6.2. Before that a mount may have what all may: a fifth of memory.
    let limit = ProcessFile.read("/sys/class/bdi/\(major):\(minor)/max_bytes") { $0.number(at: 0) }
    return limit.map { Int64(clamping: $0) } ?? usableMemory() / 5
  }
}
