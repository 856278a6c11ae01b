internal import Glibc
internal import Synchronization

extension FileContent {
  /// The short way of most writes: the bytes end within the buffer of a small file, and nothing stands in the way. Returns
  /// false if something does; nothing has changed then.
  ///
  /// Preconditions: `writerLock` held, `bytes` is not empty.
  @inline(__always)
  func writeToBuffer(_ bytes: UnsafeRawBufferPointer, over range: Range<Int64>) -> Bool {
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
    let isDone = stateLock.withExclusiveLock {
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
    }
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
