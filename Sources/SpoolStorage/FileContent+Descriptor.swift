internal import Synchronization
public import SystemPackage

// A file whose descriptor is known outside is the kernel's: whoever has the descriptor reads, writes and cuts it behind
// the page map. So it has none any more, and every answer is the spill file's own.

extension FileContent {
  /// Whether `exposeDescriptor()` has given the spill file's descriptor away. It stays so as long as the file lives.
  public var isExposed: Bool { residency.load(ordering: .acquiring) == .exposed }

  /// Moves the file to disk if it is in memory, and returns the descriptor of the file there: for a program that needs
  /// a real one, and for child processes. It mirrors `fileno()` of Python's SpooledTemporaryFile.
  ///
  /// The descriptor stays open as long as this object lives and is closed by it; it closes in a program that is executed
  /// (FD_CLOEXEC). Its offset is its own, at the start when it is first given away. What is changed through it is seen
  /// here at once, and the other way round. From then on:
  /// - the file never goes back to memory, not even when it is cut to nothing;
  /// - sizes, pages and holes are those that the disk's filesystem tells;
  /// - limits count what it holds on disk, counted anew with each change made through this object;
  /// - a write that fails may have written a part, as write(2).
  ///
  /// - Throws: as `rollOver()`; the file is then in memory as before. What the disk refuses bytes of the file with: it has
  ///   not been exposed then. EOPNOTSUPP if the store encrypts what is on disk.
  /// - Complexity: O(bytes in memory), and O(1) from the second time on.
  public func exposeDescriptor() throws(Errno) -> CInt {
    // Whoever had it would read and write what is encrypted.
    if store.spillKey != nil { throw .notSupported }
    writerLock.lock()
    defer { writerLock.unlock() }
    if !isExposed { try expose() }
    return spill!.file
  }

  /// Preconditions: `writerLock` held.
  private func expose() throws(Errno) {
    if spill == nil { try extendOnDisk(Growth(), newSize: size, { _ in }, {}) }
    let spill = spill!
    if let unconfirmed = spill.unconfirmed { try settle(spill, unconfirmed) }
    // A failed write that could not be taken back may have left more.
    if try spill.status().size != size { try spill.resize(to: size) }
    stateLock.withExclusiveLock {
      // What is charged stays charged until the disk has been asked.
      _ = clear(0..<Layout.largestFile, keepingPages: false)
      residency.store(.exposed, ordering: .releasing)
    }
    recount(spill)
  }

  /// Makes what is on disk all there is of the file.
  private func settle(_ spill: SpillFile, _ unconfirmed: UnconfirmedWrites) throws(Errno) {
    try confirm(spill, unconfirmed, retrying: true)
    if unconfirmed.hasLost { throw .ioError }
    guard unconfirmed.hasStaleHoles else { return }
    try forEachRun(in: 0..<size, written: false) { (run) throws(Errno) in try spill.punchHole(run, size: size) }
  }

  /// The spill file if it is exposed. It is never replaced then, so no lock is needed.
  @inline(__always)
  var exposedFile: SpillFile? { isExposed ? spill : nil }

  /// The size as the disk has it now.
  @inline(never)
  func exposedSize() -> Int64 {
    guard let spill = exposedFile, let size = try? spill.status().size else {
      return currentSize.load(ordering: .acquiring)
    }
    currentSize.store(size, ordering: .releasing)
    return size
  }

  /// Runs an operation on the exposed file, within the limits, and counts afterwards what it holds.
  ///
  /// Preconditions: `writerLock` held.
  ///
  /// - Parameter range: what gets disk space where it has none.
  func changeExposed(
    _ spill: SpillFile, growingOver range: Range<Int64> = 0..<0, _ body: () throws(Errno) -> Void
  ) throws(Errno) {
    // Without a limit there is nothing to ask the disk for.
    let pages = store.data.isLimited || store.disk.isLimited ? spill.missingPages(in: range) : 0
    guard store.reserveData(pages) else { throw .noSpace }
    guard store.disk.reserve(pages) else {
      store.data.release(pages)
      throw .noSpace
    }
    addPages(pages)
    defer { recount(spill) }
    try body()
  }

  /// Charges what the exposed file really holds: others change it, too.
  private func recount(_ spill: SpillFile) {
    guard let status = try? spill.status() else { return }
    currentSize.store(status.size, ordering: .releasing)
    let grown = status.pages - pageCount.load(ordering: .relaxed)
    if grown == 0 { return }
    pageCount.store(status.pages, ordering: .relaxed)
    store.data.adjust(by: grown)
    store.disk.adjust(by: grown)
    if grown < 0 { store.spiller.spaceWasFreed() }
  }

  func readExposed(
    _ spill: SpillFile, into buffer: UnsafeMutableRawBufferPointer, at offset: Int64
  ) throws(Errno) -> Int {
    // Past that there is no file, and pread(2) would complain.
    let count = Int(min(Int64(buffer.count), max(0, Layout.largestFile - offset)))
    return try spill.read(into: UnsafeMutableRawBufferPointer(rebasing: buffer[..<count]), at: offset)
  }

  func writeExposed(_ spill: SpillFile, _ bytes: UnsafeRawBufferPointer, over range: Range<Int64>) throws(Errno) {
    try changeExposed(spill, growingOver: range) { () throws(Errno) in try spill.write(bytes, at: range.lowerBound) }
  }

  func allocateExposed(_ spill: SpillFile, _ range: Range<Int64>, keepingSize: Bool) throws(Errno) {
    try changeExposed(spill, growingOver: range) { () throws(Errno) in
      if keepingSize { try spill.reserve(range) } else { try spill.extend(over: range) }
    }
  }

  func zeroExposed(_ spill: SpillFile, _ range: Range<Int64>, keepingSize: Bool) throws(Errno) {
    try changeExposed(spill, growingOver: range) { () throws(Errno) in
      let size = try spill.status().size
      try spill.zero(range, size: keepingSize ? size : max(size, range.upperBound))
      if !keepingSize { try spill.extend(over: range) }
    }
  }

  func punchExposed(_ spill: SpillFile, _ range: Range<Int64>) throws(Errno) {
    try changeExposed(spill) { () throws(Errno) in
      let size = try spill.status().size
      // Filesystems refuse ranges past their largest file.
      try spill.punchHole(range.clamped(to: 0..<Layout.roundedUpToPage(size)), size: size)
    }
  }
}
