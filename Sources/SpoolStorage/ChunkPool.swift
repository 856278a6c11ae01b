internal import CSpoolSystem
internal import Glibc
internal import Synchronization

/// Raw memory in chunks of 64 KiB, cut from slabs of 2 MiB that are aligned for huge pages, left out of core dumps, and
/// recycled: memory that was touched before takes writes several times faster than fresh pages from the kernel. Where huge
/// pages take the kernel long, new slabs have small ones.
///
/// What a chunk holds when it is handed out is unspecified; whoever takes it must write before reading.
final class ChunkPool: @unchecked Sendable {  // the mutable state is protected by `lock`
  static let slabSize = 2 << 20
  private static let chunksPerSlab = slabSize / Layout.chunk

  /// One slab. Slabs with free chunks are in one of two lists: some chunks in use, or none.
  private struct Slab {
    var base: UnsafeMutableRawPointer?
    /// The chunks that nobody holds.
    var free = UInt32.max
    /// The chunks that the kernel may have given memory to.
    var resident: UInt32 = 0
    var previous: Int32 = -1
    var next: Int32 = -1
  }

  /// Slabs that nobody uses a chunk of.
  private struct Reserve {
    var first: Int32 = -1
    var count = 0
    /// The fewest at once since the last look: nobody missed these.
    var least = 0
  }

  private let lock = Lock()
  private var slabs: ContiguousArray<Slab> = []
  /// Slab numbers by address.
  private var numbers: [UInt: Int32] = [:]
  private var vacantNumbers: [Int32] = []
  private var firstPartial: Int32 = -1
  /// What was used lately, or is ready to be.
  private var warm = Reserve()
  /// What the kernel may take the memory of when it is short (MADV_FREE).
  private var lent = Reserve()
  private var freedSinceTrim = false
  /// Slabs that had to come from the system since the last `trim`, for want of unused ones.
  private var missedSinceTrim = 0
  /// Whether a writer takes slab after slab, and there are few for it to take.
  private let wantsStock = Atomic<Bool>(false)
  /// Bytes above which no slabs are made ready ahead.
  private let stockLimit: Int64
  /// Slabs that are ready at most.
  private static let largestStock = 16
  /// So many misses are a writer that goes on.
  private static let streakOfMisses = 2
  private(set) var pageSizes: PageSizePolicy

  /// Belongs to the thread that trims.
  private var trimCount: UInt = 0
  private static let trimsUntilLentMemoryGoes: UInt = 4

  private let mapped = Atomic<Int64>(0)
  private let idle = Atomic<Int64>(0)

  /// - Parameters:
  ///   - stockLimit: bytes; beyond what the files may use, nothing is made ready for them.
  ///   - pageSizes: what is known of the kernel's memory.
  init(stockLimit: Int64 = .max, pageSizes: PageSizePolicy = PageSizePolicy()) {
    self.stockLimit = stockLimit
    self.pageSizes = pageSizes
  }

  deinit {
    for slab in slabs where slab.base != nil { munmap(slab.base, Self.slabSize) }
  }

  /// Bytes of address space taken from the system.
  var mappedBytes: Int64 { mapped.load(ordering: .relaxed) }

  /// Bytes that nobody uses and that the system could have back.
  var idleBytes: Int64 { idle.load(ordering: .relaxed) }

  /// A chunk with unspecified contents, or nil when the system has no memory.
  ///
  /// Memory that was used before comes first, and neighbours after each other, so that a growing file fills whole huge
  /// pages.
  func allocate() -> UnsafeMutableRawPointer? {
    lock.lock()
    defer { lock.unlock() }
    if firstPartial < 0, !openSlab() { return nil }
    let number = Int(firstPartial)
    let slab = slabs[number]
    let recycled = slab.free & slab.resident
    let position = (recycled != 0 ? recycled : slab.free).trailingZeroBitCount
    let bit = UInt32(1) << UInt32(position)
    slabs[number].free &= ~bit
    slabs[number].resident |= bit
    if slabs[number].free == 0 { unlink(Int32(number), from: &firstPartial) }
    if recycled != 0 { idle.subtract(Int64(Layout.chunk), ordering: .relaxed) }
    return slab.base! + position * Layout.chunk
  }

  /// Takes a chunk back.
  func deallocate(_ chunk: UnsafeMutableRawPointer) {
    let address = UInt(bitPattern: chunk)
    let base = address & ~UInt(Self.slabSize - 1)
    let bit = UInt32(1) << UInt32((address - base) / UInt(Layout.chunk))
    lock.lock()
    defer { lock.unlock() }
    guard let number = numbers[base] else { preconditionFailure("not a chunk of this pool") }
    precondition(slabs[Int(number)].free & bit == 0, "a chunk was freed twice")
    makeFree(bit, of: number)
    idle.add(Int64(Layout.chunk), ordering: .relaxed)
    freedSinceTrim = true
  }

  /// Puts a slab in the list it belongs to with more of its chunks free.
  private func makeFree(_ chunks: UInt32, of number: Int32) {
    let wasFull = slabs[Int(number)].free == 0
    slabs[Int(number)].free |= chunks
    if slabs[Int(number)].free == .max {
      if !wasFull { unlink(number, from: &firstPartial) }
      push(number, into: &warm)
    } else if wasFull {
      link(number, into: &firstPartial)
    }
  }

  /// Whether `stockUp` would help. Takes no lock.
  @inline(__always)
  var isRunningLow: Bool { wantsStock.load(ordering: .relaxed) }

  /// Makes some slabs ready, for a writer that takes one after the other: the kernel clears memory that is new to a
  /// process, and that takes as long as writing to it. Another thread does it while the writer is busy with the last ones.
  ///
  /// The more slabs were missed lately the more are made, up to 32 MiB; small files cause none. What nobody takes goes
  /// back with the rest.
  func stockUp() {
    while let isHuge = lock.withLock({ isStockWanted() ? pageSizes.takesHugeSlab : nil }) {
      guard let base = Self.mapSlab(isHuge: isHuge) else { break }
      let time = Self.populate(base)
      mapped.add(Int64(Self.slabSize), ordering: .relaxed)
      idle.add(Int64(Self.slabSize), ordering: .relaxed)
      lock.withLock {
        pageSizes.tookSlab(isHuge: isHuge, time)
        push(register(Slab(base: base, resident: .max)), into: &warm)
        freedSinceTrim = true
      }
    }
    wantsStock.store(false, ordering: .relaxed)
  }

  /// Preconditions: `lock` held.
  private func isStockWanted() -> Bool {
    warm.count + lent.count < min(missedSinceTrim, Self.largestStock)
      && mappedBytes + Int64(Self.slabSize) <= stockLimit
  }

  /// Gives memory back that has not been needed since the last call. Returns whether there is more to give back later.
  ///
  /// A little goes at once. Much is lent to the kernel first: it takes what it is short of, and the rest stays warm for the
  /// next large file until it has not been needed for some time. Called by one thread at a time.
  func trim() -> Bool {
    let surplus = lock.withLock { take(warm.least, from: &warm) }
    if surplus.count > Self.largestStock { lend(surplus) } else { giveBack(surplus) }
    trimCount &+= 1
    if trimCount.isMultiple(of: Self.trimsUntilLentMemoryGoes) {
      let unneeded = lock.withLock {
        let count = lent.least > Self.largestStock ? lent.least / 2 : lent.least
        defer { lent.least = lent.count }
        return take(count, from: &lent)
      }
      giveBack(unneeded)
    }
    let isQuiet = lock.withLock { !freedSinceTrim }
    if surplus.isEmpty && isQuiet { discardIdleChunks() }
    return lock.withLock {
      warm.least = warm.count
      freedSinceTrim = false
      missedSinceTrim = 0
      let hasMore = idle.load(ordering: .relaxed) != 0 || warm.count + lent.count != 0
      // The kernel's memory is another one by the time that there is something to do again.
      if !hasMore { pageSizes = PageSizePolicy() }
      return hasMore
    }
  }

  /// Takes slabs out of a reserve, and returns their numbers. Nobody else finds them then.
  ///
  /// Preconditions: `lock` held.
  private func take(_ count: Int, from reserve: inout Reserve) -> [Int32] {
    var taken: [Int32] = []
    while taken.count < count, let number = pop(from: &reserve) { taken.append(number) }
    return taken
  }

  /// Lets the kernel have the memory when it needs some. Until then it is as warm as before. Locked memory just stays.
  private func lend(_ numbers: [Int32]) {
    for number in numbers {
      let base = lock.withLock { slabs[Int(number)].base! }
      madvise(base, Self.slabSize, MADV_FREE)
      lock.withLock { push(number, into: &lent) }
    }
  }

  private func giveBack(_ numbers: [Int32]) {
    for number in numbers {
      let base = lock.withLock {
        let slab = slabs[Int(number)]
        idle.subtract(Int64(slab.resident.nonzeroBitCount * Layout.chunk), ordering: .relaxed)
        self.numbers[UInt(bitPattern: slab.base)] = nil
        slabs[Int(number)] = Slab()
        vacantNumbers.append(number)
        return slab.base!
      }
      munmap(base, Self.slabSize)
      mapped.subtract(Int64(Self.slabSize), ordering: .relaxed)
    }
  }

  /// Returns the pages of free chunks in slabs that are in use. The lock is not held while the kernel works: the chunks
  /// of one slab at a time are taken and put back.
  private func discardIdleChunks() {
    var number: Int32 = 0
    while let (base, chunks) = takeIdleChunks(ofFirstFrom: &number) {
      for position in 0..<Self.chunksPerSlab where chunks & (1 << UInt32(position)) != 0 {
        spool_discard_memory(base + position * Layout.chunk, Layout.chunk)
      }
      lock.withLock {
        slabs[Int(number)].resident &= ~chunks
        makeFree(chunks, of: number)
      }
      number += 1
    }
  }

  /// Takes the chunks that are free and hold memory out of the first slab from `number` on that has some.
  private func takeIdleChunks(ofFirstFrom number: inout Int32) -> (UnsafeMutableRawPointer, UInt32)? {
    lock.withLock {
      while number < slabs.count {
        let slab = slabs[Int(number)]
        let chunks = slab.free & slab.resident
        if let base = slab.base, slab.free != .max, chunks != 0 {
          slabs[Int(number)].free &= ~chunks
          if slabs[Int(number)].free == 0 { unlink(number, from: &firstPartial) }
          idle.subtract(Int64(chunks.nonzeroBitCount * Layout.chunk), ordering: .relaxed)
          return (base, chunks)
        }
        number += 1
      }
      return nil
    }
  }

  /// Makes a slab with free chunks the first of the partial list.
  private func openSlab() -> Bool {
    let number: Int32
    if let unused = pop(from: &warm) ?? pop(from: &lent) {
      number = unused
    } else {
      guard let base = Self.mapSlab(isHuge: pageSizes.prefersHuge) else { return false }
      mapped.add(Int64(Self.slabSize), ordering: .relaxed)
      missedSinceTrim += 1
      number = register(Slab(base: base))
    }
    link(number, into: &firstPartial)
    if missedSinceTrim >= Self.streakOfMisses, isStockWanted() { wantsStock.store(true, ordering: .relaxed) }
    return true
  }

  /// Gives the slab a number. Preconditions: `lock` held.
  private func register(_ slab: Slab) -> Int32 {
    let number: Int32
    if let vacant = vacantNumbers.popLast() {
      number = vacant
    } else {
      number = Int32(slabs.count)
      slabs.append(Slab())
    }
    slabs[Int(number)] = slab
    numbers[UInt(bitPattern: slab.base)] = number
    return number
  }

  /// Maps 2 MiB at an address that is a multiple of 2 MiB.
  ///
  /// - Returns: nil where the system has no memory, or so little that others would find none: where they can tell nobody, as
  ///   most code of a process, that ends it, and every file with it.
  private static func mapSlab(isHuge: Bool) -> UnsafeMutableRawPointer? {
    guard AddressSpace.hasRoom(for: 2 * slabSize), let first = spool_map_memory(slabSize) else { return nil }
    var base = first
    if UInt(bitPattern: first) % UInt(slabSize) != 0 {
      munmap(first, slabSize)
      guard let wide = spool_map_memory(2 * slabSize) else { return nil }
      let below = (slabSize - Int(bitPattern: wide) & (slabSize - 1)) & (slabSize - 1)
      base = wide + below
      if below > 0 { munmap(wide, below) }
      munmap(base + slabSize, slabSize - below)
    }
    spool_advise_memory(base, slabSize, isHuge ? 1 : 0)
    return base
  }

  /// Has the kernel provide a slab's memory.
  ///
  /// - Returns: the processor time that it took, in nanoseconds. What a virtual machine's host does is in it.
  private static func populate(_ base: UnsafeMutableRawPointer) -> Int {
    let start = nanoseconds(of: CLOCK_THREAD_CPUTIME_ID)
    spool_populate_memory(base, slabSize)
    return nanoseconds(of: CLOCK_THREAD_CPUTIME_ID) - start
  }

  private func push(_ number: Int32, into reserve: inout Reserve) {
    link(number, into: &reserve.first)
    reserve.count += 1
  }

  private func pop(from reserve: inout Reserve) -> Int32? {
    let number = reserve.first
    if number < 0 { return nil }
    unlink(number, from: &reserve.first)
    reserve.count -= 1
    reserve.least = min(reserve.least, reserve.count)
    return number
  }

  private func link(_ number: Int32, into list: inout Int32) {
    slabs[Int(number)].previous = -1
    slabs[Int(number)].next = list
    if list >= 0 { slabs[Int(list)].previous = number }
    list = number
  }

  private func unlink(_ number: Int32, from list: inout Int32) {
    let slab = slabs[Int(number)]
    if slab.previous >= 0 { slabs[Int(slab.previous)].next = slab.next } else { list = slab.next }
    if slab.next >= 0 { slabs[Int(slab.next)].previous = slab.previous }
    slabs[Int(number)].previous = -1
    slabs[Int(number)].next = -1
  }
}
