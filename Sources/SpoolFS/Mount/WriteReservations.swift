import SpoolStorage

/// What the kernel has been allowed to hold of files and has not sent yet: delayed allocation, as disk filesystems have it.
///
/// A page counts from the answer that allows a write(2) to it until its WRITE. It counts for too long where the write(2)
/// failed after all, or the kernel dropped the page with its file; `release` takes such pages back.
struct WriteReservations {
  /// Pages of one file.
  private struct File {
    var pages = RangeSet<Int64>()
    /// The chunks of memory that those pages need.
    var chunks = RangeSet<Int64>()
    /// Where the file ends with all that was allowed, in bytes; 0 once that has been written.
    var end: Int64 = 0
    /// Whether a write was allowed of which nobody knows where it ends.
    var isOpenEnded = false
  }

  /// The latest write(2) of one thread: it may not have got to its pages yet.
  private struct Latest {
    let inode: UInt64
    let pages: Range<Int64>
    let time: Int
  }

  private var files: [UInt64: File] = [:]
  private var latest: [UInt32: Latest] = [:]
  private(set) var total = ReservedSpace()
  private var openEnded = 0

  /// Threads that are remembered.
  private static let mostThreads = 1024
  /// Nanoseconds in which a write(2) that was allowed gets to its pages.
  private static let timeToStart = 1_000_000_000
  /// Ranges of one file after which its pages are better written back than remembered.
  static let mostRanges = 512

  /// Whether `total` may not be all of it.
  var isIncomplete: Bool { openEnded > 0 }

  /// The byte at which the file ends with all that was allowed; 0 where nothing was.
  func end(of inode: UInt64) -> Int64 { files[inode]?.end ?? 0 }

  func isFragmented(_ inode: UInt64) -> Bool { (files[inode]?.pages.ranges.count ?? 0) >= Self.mostRanges }

  /// What of these bytes is not reserved yet, in whole pages.
  func missing(_ bytes: Range<Int64>, of inode: UInt64) -> [Range<Int64>] {
    let pages = SpaceUnits.pages(of: bytes)
    guard let file = files[inode] else { return [SpaceUnits.bytes(ofPages: pages)] }
    return RangeSet(pages).subtracting(file.pages).ranges.map { SpaceUnits.bytes(ofPages: $0) }
  }

  /// Bytes of memory that are reserved already for chunks of these ranges.
  func memory(reservedIn ranges: [Range<Int64>], of inode: UInt64) -> Int64 {
    guard let file = files[inode] else { return 0 }
    let chunks = RangeSet(ranges.map { SpaceUnits.chunks(of: $0) })
    return chunks.intersection(file.chunks).elementCount * SpaceUnits.chunk
  }

  /// Reserves what a write(2) that was allowed needs.
  ///
  /// - Parameter needsSpace: false where it only writes to what the file has.
  mutating func reserve(
    _ bytes: Range<Int64>, of inode: UInt64, by thread: UInt32, at time: Int, needsSpace: Bool, needsMemory: Bool,
    isOpenEnded: Bool
  ) {
    let pages = SpaceUnits.pages(of: bytes)
    if latest.count >= Self.mostThreads, latest[thread] == nil { latest = [:] }
    latest[thread] = Latest(inode: inode, pages: pages, time: time)
    change(inode) { file in
      if needsSpace { file.pages.insert(contentsOf: pages) }
      if needsSpace, needsMemory { file.chunks.insert(contentsOf: SpaceUnits.chunks(of: bytes)) }
      file.end = max(file.end, bytes.upperBound)
      if isOpenEnded { file.isOpenEnded = true }
    }
  }

  /// A WRITE has brought these bytes: the file has what they need.
  mutating func written(_ bytes: Range<Int64>, of inode: UInt64) {
    guard files[inode] != nil else { return }
    change(inode) { file in
      file.pages.remove(contentsOf: SpaceUnits.pages(of: bytes))
      file.chunks.remove(contentsOf: SpaceUnits.chunks(of: bytes))
      if bytes.upperBound >= file.end { file.end = 0 }
    }
  }

  mutating func forget(_ inode: UInt64) {
    guard files[inode] != nil else { return }
    change(inode) { $0 = File() }
  }

  /// The file ends at `size` now: what the kernel held past that is dropped.
  mutating func cut(_ inode: UInt64, to size: Int64) {
    guard files[inode] != nil else { return }
    change(inode) { file in
      file.pages.remove(contentsOf: ((size + SpaceUnits.page - 1) / SpaceUnits.page)..<Int64.max)
      file.chunks.remove(contentsOf: ((size + SpaceUnits.chunk - 1) / SpaceUnits.chunk)..<Int64.max)
      file.end = min(file.end, size)
    }
  }

  /// What the kernel has to write back for the reservations to be the tree's own allocations.
  struct Outstanding {
    let inode: UInt64
    /// nil: all of the file.
    let bytes: Range<Int64>?
    fileprivate let pages: RangeSet<Int64>
  }

  /// What is reserved, but for other threads' writes that have been allowed just now.
  func outstanding(askedBy thread: UInt32, at time: Int) -> [Outstanding] {
    let starting = latest.filter { $0.key != thread && time - $0.value.time < Self.timeToStart }.values
    return files.map { inode, file in
      var pages = file.pages
      for write in starting where write.inode == inode { pages.remove(contentsOf: write.pages) }
      let bytes = pages.ranges.first.flatMap { first in
        pages.ranges.last.map { SpaceUnits.bytes(ofPages: first.lowerBound..<$0.upperBound) }
      }
      return Outstanding(inode: inode, bytes: file.isOpenEnded ? nil : bytes ?? 0..<0, pages: pages)
    }
  }

  /// The kernel holds nothing of these any more.
  mutating func release(_ released: [Outstanding]) {
    for part in released where files[part.inode] != nil {
      change(part.inode) { file in
        file.pages.subtract(part.pages)
        file.chunks = RangeSet(file.pages.ranges.map { SpaceUnits.chunks(of: SpaceUnits.bytes(ofPages: $0)) })
        file.isOpenEnded = false
        if file.pages.isEmpty { file.end = 0 }
      }
    }
  }

  /// Changes one file's and the totals together. What has nothing reserved is forgotten.
  private mutating func change(_ inode: UInt64, _ body: (inout File) -> Void) {
    var file = files[inode] ?? File()
    let before = (pages: file.pages.elementCount, chunks: file.chunks.elementCount, open: file.isOpenEnded)
    body(&file)
    total.pages += file.pages.elementCount - before.pages
    total.memory += (file.chunks.elementCount - before.chunks) * SpaceUnits.chunk
    openEnded += (file.isOpenEnded ? 1 : 0) - (before.open ? 1 : 0)
    files[inode] = file.pages.isEmpty && file.end == 0 && !file.isOpenEnded ? nil : file
  }
}

/// The units in which the tree counts.
enum SpaceUnits {
  static let page: Int64 = 4096
  static let chunk: Int64 = 65_536

  static func pages(of bytes: Range<Int64>) -> Range<Int64> { units(of: bytes, page) }
  static func chunks(of bytes: Range<Int64>) -> Range<Int64> { units(of: bytes, chunk) }

  static func bytes(ofPages pages: Range<Int64>) -> Range<Int64> {
    pages.lowerBound * page..<pages.upperBound * page
  }

  private static func units(of bytes: Range<Int64>, _ unit: Int64) -> Range<Int64> {
    bytes.isEmpty ? 0..<0 : bytes.lowerBound / unit..<(bytes.upperBound - 1) / unit + 1
  }
}

extension RangeSet<Int64> {
  var elementCount: Int64 { ranges.reduce(0) { $0 + Int64($1.count) } }
}
