internal import Glibc
internal import Synchronization
package import SystemPackage

extension FileContent {
  /// Writes as `write(_:at:)` to the file of `owner`. If nobody else references the file, no other thread can be using it,
  /// and nothing has to be locked.
  package static func write(
    _ bytes: UnsafeRawBufferPointer, at offset: Int64, to owner: inout FileContent
  ) throws(Errno) {
    if isAlone(&owner), offset >= 0, offset <= Layout.largestBuffer, !bytes.isEmpty,
      owner.writeToBuffer(bytes, over: offset..<offset + Int64(bytes.count), locking: false)
    {
      return
    }
    try owner.write(bytes, at: offset)
  }

  /// Reads as `read(into:at:)` from the file of `owner`, likewise.
  package static func read(
    into buffer: UnsafeMutableRawBufferPointer, at offset: Int64, from owner: inout FileContent
  ) throws(Errno) -> Int {
    guard isAlone(&owner), offset >= 0, owner.spill == nil else { return try owner.read(into: buffer, at: offset) }
    owner.stampUse()
    return owner.readMemory(into: buffer, at: offset)
  }

  /// Whether there is no other reference to the file, and nobody who can make one. The store can of a candidate.
  @inline(__always)
  private static func isAlone(_ owner: inout FileContent) -> Bool {
    // The locks are free then; looking at them makes visible what others did before they let go of the file.
    isKnownUniquelyReferenced(&owner) && owner.writerLock.isFree && owner.stateLock.isFree && !owner.isCandidate
  }

  /// The short way of most writes: the bytes end within the buffer of a small file, and nothing stands in the way. Returns
  /// false if something does; nothing has changed then.
  ///
  /// Preconditions: `writerLock` held, or nobody else has the file; `bytes` is not empty.
  ///
  /// - Parameter locking: whether others may be reading.
  @inline(__always)
  func writeToBuffer(_ bytes: UnsafeRawBufferPointer, over range: Range<Int64>, locking: Bool) -> Bool {
    let size = currentSize.load(ordering: .relaxed)
    guard spill == nil, range.upperBound <= Layout.largestBuffer, max(size, range.upperBound) <= largestInMemory else {
      return false
    }
    stampUse()
    let place = Int(range.lowerBound)..<Int(range.upperBound)
    var head = table[0]
    let touched = PageSet(touchedBy: place)
    let pages = Int64(touched.subtracting(head.allocated).count)
    let capacity = Self.headCapacity(for: place.upperBound, now: head.capacity)
    let growth = Int64(capacity - head.capacity)
    guard store.data.reserve(pages) else { return false }
    guard store.memory.reserve(growth) else {
      store.data.release(pages)
      return false
    }
    if locking { stateLock.lockExclusive() }
    let isDone = {
      if growth > 0 {
        guard let memory = grownMemory(of: head, to: capacity, sparing: place) else { return false }
        head.memory = memory
        head.capacity = capacity
      }
      let fresh = touched.subtracting(head.written)
      if !fresh.isEmpty { zeroEdges(of: head, around: place, fresh: fresh) }
      head.allocated = head.allocated.union(touched)
      head.written = head.written.union(touched)
      table[0] = head
      memcpy(head.memory! + place.lowerBound, bytes.baseAddress!, bytes.count)
      if range.upperBound > size { currentSize.store(range.upperBound, ordering: .releasing) }
      return true
    }()
    if locking { stateLock.unlockExclusive() }
    guard isDone else {
      store.data.release(pages)
      store.memory.release(growth)
      return false
    }
    addPages(pages)
    if growth > 0 { didTakeMemory(growth) }
    return true
  }
}
