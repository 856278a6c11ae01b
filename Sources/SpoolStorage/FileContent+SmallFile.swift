internal import Glibc
internal import Synchronization
package import SystemPackage

/// Writes and reads for whoever holds a reference to a file. If nobody else does, no other thread can be using it, and
/// nothing has to be locked.
package enum FileOwner {
  /// As `FileContent.write(_:at:)`.
  package static func write(
    _ bytes: UnsafeRawBufferPointer, at offset: Int64, to file: inout FileContent
  ) throws(Errno) {
    if isAlone(&file), file.writeToBuffer(bytes, at: offset, locking: false) { return }
    try file.write(bytes, at: offset)
  }

  /// As `FileContent.read(into:at:)`.
  package static func read(
    into buffer: UnsafeMutableRawBufferPointer, at offset: Int64, from file: inout FileContent
  ) throws(Errno) -> Int {
    guard isAlone(&file), offset >= 0, file.spill == nil else { return try file.read(into: buffer, at: offset) }
    file.stampUse()
    return file.readMemory(into: buffer, at: offset)
  }

  /// Whether there is no other reference to the file, and nobody who can make one. The store can of a candidate.
  @inline(__always)
  private static func isAlone(_ file: inout FileContent) -> Bool {
    // The locks are free then; looking at them makes visible what others did before they let go of the file.
    isKnownUniquelyReferenced(&file) && file.writerLock.isFree && file.stateLock.isFree && !file.isCandidate
  }
}

extension FileContent {
  /// The short way of most writes: the bytes end within the buffer of a small file, and nothing stands in the way. Returns
  /// false if something does; nothing has changed then.
  ///
  /// Preconditions: `writerLock` held, or nobody else has the file.
  ///
  /// - Parameter locking: whether others may be reading.
  @inline(__always)
  func writeToBuffer(_ bytes: UnsafeRawBufferPointer, at offset: Int64, locking: Bool) -> Bool {
    let count = bytes.count
    guard count > 0, offset >= 0, offset <= Layout.largestBuffer &- count, spill == nil else { return false }
    let start = Int(offset)
    let end = start &+ count
    let size = currentSize.load(ordering: .relaxed)
    guard max(size, Int64(end)) <= largestInMemory else { return false }
    stampUse()
    if locking { stateLock.lockExclusive() }
    let isReady =
      table.headHolds(start, end)
      || (start == 0 && table.headIsEmpty ? makeFirstBuffer(end) : makeBuffer(from: start, to: end))
    if isReady {
      memcpy(table[0].memory! + start, bytes.baseAddress!, count)
      if end > size { currentSize.store(Int64(end), ordering: .releasing) }
    }
    if locking { stateLock.unlockExclusive() }
    return isReady
  }

  /// As `makeBuffer`, for a first chunk without pages and bytes from its beginning on: the first write of most files.
  @inline(__always)
  private func makeFirstBuffer(_ capacity: Int) -> Bool {
    let pages = Int64((capacity &+ Layout.page &- 1) &>> Layout.pageShift)
    guard store.data.reserve(pages) else { return false }
    guard store.memory.reserve(Int64(capacity)) else {
      store.data.release(pages)
      return false
    }
    guard let memory = store.spareBuffers.take(capacity) ?? malloc(capacity) else {
      store.data.release(pages)
      store.memory.release(Int64(capacity))
      return false
    }
    let all = PageSet(from: 0, to: capacity)
    table[0] = Chunk(memory: memory, capacity: capacity, allocated: all, written: all)
    addPages(pages)
    didTakeMemory(Int64(capacity))
    return true
  }

  /// Makes these bytes part of the small file's buffer, for the caller to write. Returns false if a limit or the system has
  /// no memory for that; nothing has changed then.
  ///
  /// Preconditions: as `writeToBuffer`; `stateLock` held exclusively, or nobody else has the file.
  @inline(never)
  private func makeBuffer(from start: Int, to end: Int) -> Bool {
    var head = table[0]
    let touched = PageSet(from: start, to: end)
    let pages = Int64(touched.subtracting(head.allocated).count)
    let capacity = Self.headCapacity(for: end, now: head.capacity)
    let growth = Int64(capacity &- head.capacity)
    guard store.data.reserve(pages) else { return false }
    guard store.memory.reserve(growth) else {
      store.data.release(pages)
      return false
    }
    if growth > 0 {
      guard let memory = grownMemory(of: head, to: capacity, sparing: start..<end) else {
        store.data.release(pages)
        store.memory.release(growth)
        return false
      }
      head.memory = memory
      head.capacity = capacity
    }
    if start > 0 || end < capacity {
      zeroEdges(of: head, around: start..<end, fresh: touched.subtracting(head.written))
    }
    head.allocated = head.allocated.union(touched)
    head.written = head.written.union(touched)
    table[0] = head
    addPages(pages)
    // That does not make it a candidate, whose bytes may be moved: it holds no chunk, or has been one since it took the first.
    if growth > 0 { didTakeMemory(growth) }
    return true
  }
}
