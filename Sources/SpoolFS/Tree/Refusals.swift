internal import CSpoolSystem
import SpoolStorage
internal import SystemPackage

/// The bytes of one file that are lost: a program had written them into the kernel's cache, and the tree could not take them.
///
/// They read as EIO until they are written again or cut off. The inode's lock protects it.
final class Refusals {
  private(set) var ranges = RangeSet<Int64>()
  /// Why they were refused, until a writer has heard of it.
  private(set) var untold: Errno?

  var isEmpty: Bool { ranges.isEmpty }

  func refuse(_ range: Range<Int64>, because error: Errno) {
    ranges.insert(contentsOf: range)
    untold = error
  }

  /// Notes that the range has other contents now.
  func replaced(_ range: Range<Int64>) {
    ranges.remove(contentsOf: range)
    if isEmpty { untold = nil }
  }

  /// Notes that the file ends at `size`.
  func cut(to size: Int64) { replaced(size..<Int64.max) }

  func overlaps(_ range: Range<Int64>) -> Bool {
    !range.isEmpty && ranges.ranges.contains { $0.overlaps(range) }
  }

  /// The error of which nobody has heard. Asking a second time says nil.
  func takeUntold() -> Errno? {
    defer { untold = nil }
    return untold
  }
}

extension FileSystem {
  /// Notes that the kernel's cache holds bytes that are lost.
  func refused(_ range: Range<Int64>, of inode: Inode, because error: Errno) {
    inode.lock.withLock {
      let refusals = inode.refusals ?? Refusals()
      refusals.refuse(range, because: error)
      inode.refusals = refusals
    }
  }

  /// What no writer of the file has heard of yet. Asking a second time says nil.
  func takeUntoldRefusal(of inode: Inode) -> Errno? {
    inode.lock.withLock { inode.refusals?.takeUntold() }
  }

  /// - Throws: EIO where bytes of the range are lost.
  func checkRefusals(of inode: Inode, _ offset: Int64, _ count: Int) throws(Errno) {
    try inode.lock.withLock { () throws(Errno) in try inode.checkRefusalsLocked(offset, count) }
  }
}

extension FileSystem {
  /// lseek(2) where bytes of the file are lost: they count as data, so that a program that looks for data meets their error
  /// and not a hole.
  ///
  /// - Throws: ENXIO past the end or where no data follows.
  func seek(
    _ content: FileContent?, from offset: Int64, whence: Int32, besides lost: RangeSet<Int64>
  ) throws(Errno) -> Int64 {
    let end = max(content?.size ?? 0, lost.ranges.last?.upperBound ?? 0)
    guard (0..<end).contains(offset) else { throw .noSuchAddressOrDevice }
    if whence == SEEK_DATA {
      let first = lost.ranges.first { $0.upperBound > offset }.map { max($0.lowerBound, offset) }
      let data = try? content?.seekData(from: offset)
      guard let found = [first, data].compactMap({ $0 }).min() else { throw .noSuchAddressOrDevice }
      return found
    }
    var place = offset
    while true {
      let hole = (try? content?.seekHole(from: place)) ?? place
      place = lost.ranges.first { $0.contains(hole) }?.upperBound ?? hole
      if place == hole { return place }
    }
  }
}

extension Inode {
  /// A regular file's content; nil where it never had any.
  var existingContent: FileContent? {
    lock.withLock { if case .regular(let content) = payload { content } else { nil } }
  }

  /// Preconditions: `lock` is held.
  ///
  /// - Throws: EIO where bytes of the range are lost.
  @inline(__always)
  func checkRefusalsLocked(_ offset: Int64, _ count: Int) throws(Errno) {
    guard let refusals, offset >= 0 else { return }
    let end = offset.addingReportingOverflow(Int64(count))
    if refusals.overlaps(offset..<(end.overflow ? .max : end.partialValue)) { throw .ioError }
  }

  /// Preconditions: `lock` is held.
  @inline(__always)
  func replacedLocked(_ range: Range<Int64>) {
    guard let refusals else { return }
    refusals.replaced(range)
    if refusals.isEmpty { self.refusals = nil }
  }
}
