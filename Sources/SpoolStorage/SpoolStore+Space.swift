internal import Synchronization

/// What a write takes of the limits of its store.
package struct SpaceDemand: Sendable, Equatable {
  /// Pages that the file has not got yet.
  package var pages: Int64 = 0
  /// Bytes of memory that it needs as long as the file stays there.
  package var memory: Int64 = 0
  /// Pages that go to disk where the write does: all of the file's, where it is in memory.
  package var pagesOnDisk: Int64 = 0
  /// Whether the file may still be in memory after the write.
  package var staysInMemory = true
  /// Whether the file may be on disk after the write.
  package var mayGoToDisk = true

  package init() {}
}

/// Pages and memory that are spoken for, beside what the files have.
package struct ReservedSpace: Sendable, Equatable {
  /// Pages of 4 KiB.
  package var pages: Int64 = 0
  /// Bytes.
  package var memory: Int64 = 0

  package init(pages: Int64 = 0, memory: Int64 = 0) {
    self.pages = pages
    self.memory = memory
  }
}

extension FileContent {
  /// Bytes that a file can have: whole chunks below 2^63.
  package static let maximumSize = Layout.largestFile

  /// What writing to these ranges would take now.
  ///
  /// - Parameter end: where the last of them ends.
  /// - Complexity: O(chunks in the ranges).
  package func demand(of ranges: [Range<Int64>], upTo end: Int64) -> SpaceDemand {
    writerLock.lock()
    defer { writerLock.unlock() }
    var demand = SpaceDemand()
    if isExposed { return demand }
    for range in ranges {
      let growth = growth(over: range.clamped(to: 0..<Layout.largestFile))
      demand.pages += growth.pages
      demand.memory += growth.memory
    }
    let isOnDisk = spill != nil
    demand.pagesOnDisk = demand.pages + (isOnDisk ? 0 : pageCount.load(ordering: .relaxed))
    demand.staysInMemory = !isOnDisk && max(size, end) <= largestInMemory
    demand.mayGoToDisk = isOnDisk || maySpill || max(size, end) > largestInMemory
    return demand
  }
}

extension SpoolStore {
  /// Whether files can take less than `margin` bytes more. An estimate: others use the disk as well.
  ///
  /// Takes no lock, and makes a system call only once for many MiB that went to disk.
  @inline(__always)
  package func isShort(of margin: Int64) -> Bool {
    if data.available < margin >> Layout.pageShift { return true }
    // Files that never leave memory. For others memory is no limit.
    if !canSpill || largestInMemory == .max { return memory.available < margin }
    return disk.available < margin >> Layout.pageShift || freeDisk.bytes(of: self) < margin
  }

  /// Whether a write finds what it takes beside what others have been promised. An answer for now: others may be faster.
  package func hasRoom(for demand: SpaceDemand, beside reserved: ReservedSpace) -> Bool {
    if demand.pages == 0, demand.memory == 0 { return true }
    guard demand.pages <= data.available - reserved.pages else { return false }
    if demand.staysInMemory, demand.memory <= memory.available - reserved.memory { return true }
    guard demand.mayGoToDisk, canSpill else { return false }
    if demand.pages == 0, !demand.staysInMemory { return true }
    guard demand.pagesOnDisk <= disk.available - reserved.pages else { return false }
    let wanted = (demand.pagesOnDisk + reserved.pages) << Layout.pageShift
    return wanted <= freeDisk.sample(of: self) - FreeDiskEstimate.reserve
  }
}

/// How much the spill directory's filesystem can take, without asking it for each write.
final class FreeDiskEstimate: Sendable {
  /// Pages that may go to disk, or leave it, until the filesystem is asked again.
  private static let interval: Int64 = (16 << 20) >> Layout.pageShift
  /// Bytes that a filesystem may need for itself to take the last pages.
  static let reserve: Int64 = 256 << 10

  private let isKnown = Atomic<Bool>(false)
  private let freeBytes = Atomic<Int64>(0)
  /// The store's pages on disk when it was asked.
  private let pagesThen = Atomic<Int64>(0)

  /// As of the last sample, less what has gone there since.
  @inline(__always)
  func bytes(of store: borrowing SpoolStore) -> Int64 {
    let grown = store.disk.used &- pagesThen.load(ordering: .relaxed)
    guard isKnown.load(ordering: .relaxed), abs(grown) < Self.interval else { return sample(of: store) }
    return freeBytes.load(ordering: .relaxed) - grown << Layout.pageShift
  }

  @inline(never)
  @discardableResult
  func sample(of store: borrowing SpoolStore) -> Int64 {
    let pages = store.disk.used
    let pending = store.closer.pendingPages << Layout.pageShift
    let free = (try? store.spillTarget.open()).map { $0.currentFreeBytes() + pending } ?? 0
    pagesThen.store(pages, ordering: .relaxed)
    freeBytes.store(free, ordering: .relaxed)
    isKnown.store(true, ordering: .relaxed)
    return free
  }
}
