internal import CSpoolSystem
internal import Glibc
internal import Synchronization

/// Raw memory in chunks of 64 KiB, cut from slabs of 2 MiB that are aligned for huge pages, left out of core dumps, and
/// recycled: memory that was touched before takes writes several times faster than fresh pages from the kernel.
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

  private let lock = Lock()
  private var slabs: ContiguousArray<Slab> = []
  /// Slab numbers by address.
  private var numbers: [UInt: Int32] = [:]
  private var vacantNumbers: [Int32] = []
  private var firstPartial: Int32 = -1
  private var firstUnused: Int32 = -1
  /// The fewest slabs that were unused at once since the last `trim`: nobody missed these.
  private var unusedCount = 0
  private var leastUnused = 0
  private var freedSinceTrim = false

  private let mapped = Atomic<Int64>(0)
  private let idle = Atomic<Int64>(0)

  init() {}

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
      link(number, into: &firstUnused)
      unusedCount += 1
    } else if wasFull {
      link(number, into: &firstPartial)
    }
  }

  /// Gives memory back that has not been needed since the last call. Returns whether there is more to give back later.
  func trim() -> Bool {
    let surplus = takeSurplus()
    for base in surplus { munmap(base, Self.slabSize) }
    mapped.subtract(Int64(surplus.count * Self.slabSize), ordering: .relaxed)
    let isQuiet = lock.withLock { !freedSinceTrim }
    if surplus.isEmpty && isQuiet { discardIdleChunks() }
    return lock.withLock {
      leastUnused = unusedCount
      freedSinceTrim = false
      return idle.load(ordering: .relaxed) != 0 || unusedCount != 0
    }
  }

  /// Takes the slabs out that were unused all the time since the last call.
  private func takeSurplus() -> [UnsafeMutableRawPointer] {
    lock.withLock {
      var surplus: [UnsafeMutableRawPointer] = []
      while leastUnused > 0, firstUnused >= 0 {
        let number = firstUnused
        unlink(number, from: &firstUnused)
        let slab = slabs[Int(number)]
        surplus.append(slab.base!)
        idle.subtract(Int64(slab.resident.nonzeroBitCount * Layout.chunk), ordering: .relaxed)
        numbers[UInt(bitPattern: slab.base)] = nil
        slabs[Int(number)] = Slab()
        vacantNumbers.append(number)
        unusedCount -= 1
        leastUnused -= 1
      }
      return surplus
    }
  }

  /// Returns the pages of free chunks in slabs that are in use. The lock is not held while the kernel works: the chunks
  /// of one slab at a time are taken and put back.
  private func discardIdleChunks() {
    var number: Int32 = 0
    while let (base, chunks) = takeIdleChunks(ofFirstFrom: &number) {
      for position in 0..<Self.chunksPerSlab where chunks & (1 << UInt32(position)) != 0 {
        madvise(base + position * Layout.chunk, Layout.chunk, MADV_DONTNEED)
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
    var number = firstUnused
    if number >= 0 {
      unlink(number, from: &firstUnused)
      unusedCount -= 1
      leastUnused = min(leastUnused, unusedCount)
    } else {
      guard let base = Self.mapSlab() else { return false }
      mapped.add(Int64(Self.slabSize), ordering: .relaxed)
      if let vacant = vacantNumbers.popLast() {
        number = vacant
      } else {
        number = Int32(slabs.count)
        slabs.append(Slab())
      }
      slabs[Int(number)] = Slab(base: base)
      numbers[UInt(bitPattern: base)] = number
    }
    link(number, into: &firstPartial)
    return true
  }

  /// Maps 2 MiB at an address that is a multiple of 2 MiB.
  private static func mapSlab() -> UnsafeMutableRawPointer? {
    guard let first = spool_map_memory(slabSize) else { return nil }
    var base = first
    if UInt(bitPattern: first) % UInt(slabSize) != 0 {
      munmap(first, slabSize)
      guard let wide = spool_map_memory(2 * slabSize) else { return nil }
      let below = (slabSize - Int(bitPattern: wide) & (slabSize - 1)) & (slabSize - 1)
      base = wide + below
      if below > 0 { munmap(wide, below) }
      munmap(base + slabSize, slabSize - below)
    }
    spool_advise_memory(base, slabSize)
    return base
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
