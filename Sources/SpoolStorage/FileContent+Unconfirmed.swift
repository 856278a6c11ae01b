internal import Glibc
internal import Synchronization
public import SystemPackage

// A disk may refuse what it was given only when the kernel brings it there. So what was written to a file on disk has a
// copy in memory until the disk has confirmed it (`UnconfirmedWrites`), and what was refused stays there, is read from there,
// and is written again later. The writer waits for the disk when its copies take too much room: by then the kernel has
// been bringing them there for a while.

extension FileContent {
  /// Waits until the disk has all that was written to a file that is there. A file in memory is as safe as it ever gets.
  /// The corresponding C function is `fdatasync`.
  ///
  /// - Throws: what the disk refuses bytes of the file with: ENOSPC, EIO and others. The bytes stay as they are, and can be
  ///   read; the next call tries again. For an exposed file they are lost, as after `fdatasync`, and it is told once.
  /// - Complexity: O(bytes that the disk does not have yet).
  public func synchronize() throws(Errno) {
    guard isRolledOver else { return }
    writerLock.lock()
    defer { writerLock.unlock() }
    if let exposedFile { return try exposedFile.finishWriting(0..<0) }
    guard let spill, let unconfirmed = spill.unconfirmed else { return }
    try confirm(spill, unconfirmed, retrying: true)
    if unconfirmed.hasLost { throw .ioError }
  }

  /// Bytes that the disk has refused, and that are in memory for that reason. Takes no lock but for a moment.
  public var refusedBytes: Int64 {
    let spill = stateLock.withSharedLock { self.spill }
    return spill?.unconfirmed?.refusedBytes.load(ordering: .relaxed) ?? 0
  }

  /// Waits until the disk has all that was written, or what was written first, and gives the copies up.
  ///
  /// Preconditions: `writerLock` held; the file is on disk, or about to be.
  ///
  /// - Parameters:
  ///   - bytes: how much memory to give up; nil: all.
  ///   - retrying: whether what was refused is written once more, also if that was tried a moment ago.
  /// - Throws: what the disk refuses any of it with; the copies of that stay.
  func confirm(
    _ spill: SpillFile, _ unconfirmed: UnconfirmedWrites, _ bytes: Int64? = nil, retrying: Bool = false,
    dropping: Bool = false
  ) throws(Errno) {
    if unconfirmed.hasRefused { writeRefusedAgain(spill, unconfirmed, always: retrying) }
    let chunks = unconfirmed.oldest(spill.tellsOfRanges ? bytes : nil)
    if let first = chunks.min(), let last = chunks.max() {
      try finishWriting(spill, unconfirmed, chunks, first << Layout.chunkShift..<(last + 1) << Layout.chunkShift)
      if dropping { spill.dropWithFolio(first << Layout.chunkShift..<(last + 1) << Layout.chunkShift) }
    }
    if unconfirmed.hasRefused { throw unconfirmed.refusal }
    if unconfirmed.isEmpty { unregister(unconfirmed) }
  }

  /// Waits until the disk has these chunks, which lie in the range, and gives their copies up.
  func finishWriting(
    _ spill: SpillFile, _ unconfirmed: UnconfirmedWrites, _ chunks: [Int64], _ range: Range<Int64>
  ) throws(Errno) {
    do throws(Errno) {
      try spill.finishWriting(range)
    } catch {
      // It may have been any of them.
      stateLock.withExclusiveLock { unconfirmed.refuseAll(error) }
      store.didRefuse(self, error)
      throw error
    }
    stateLock.withExclusiveLock { unconfirmed.dropConfirmed(chunks) }
    store.spiller.requestTrimming()
  }

  /// Writes what the disk has refused to it once more. What it takes is then as any other write.
  private func writeRefusedAgain(_ spill: SpillFile, _ unconfirmed: UnconfirmedWrites, always: Bool) {
    let now = coarseSeconds()
    if !always, unconfirmed.retriedAt == now { return }
    unconfirmed.retriedAt = now
    // What it has refused since must not be told of what is written now.
    do throws(Errno) { try spill.finishWriting(0..<0) } catch {
      stateLock.withExclusiveLock { unconfirmed.refuseAll(error) }
    }
    let chunks = unconfirmed.refusedChunks
    spill.forgetRefused(chunks.flatMap { unconfirmed.refusedRuns(of: $0) })
    do throws(Errno) {
      var gatherer = SpillGatherer(spill, isPadded: true)
      for index in chunks {
        let chunk = unconfirmed.copies[index]
        try gatherer.append(chunk.written, of: chunk, index, end: max(size, unconfirmed.stagedEnd))
      }
      try gatherer.flush()
    } catch {
      unconfirmed.refusal = error
      return
    }
    stateLock.withExclusiveLock {
      for index in chunks { unconfirmed.retry(.all, of: index) }
    }
  }

  // MARK: - Room for copies

  /// Takes room for copies of the range, after waiting for the disk if need be.
  ///
  /// Preconditions: `writerLock` held.
  ///
  /// - Returns: whether there was room. Where not, it has been taken all the same: the copies must not stay.
  func takeRoom(for range: Range<Int64>, of spill: SpillFile, _ unconfirmed: UnconfirmedWrites) -> Bool {
    if unconfirmed.growth(over: range) == 0 { return true }
    let room = store.unconfirmedBytes
    let limit = room.limit / 2
    // Waiting for the disk gives copies up, perhaps of the range.
    func take(within limit: Int64) -> Bool { room.reserve(unconfirmed.growth(over: range), within: limit) }

    confirmWindow(behind: range, of: spill, unconfirmed)
    if take(within: limit) { return true }
    if !unconfirmed.isEmpty {
      let held = unconfirmed.heldBytes.load(ordering: .relaxed)
      try? confirm(spill, unconfirmed, max(unconfirmed.growth(over: range), held / 2))
      if take(within: limit) { return true }
    }
    store.confirmOthers(than: self)
    if take(within: limit) { return true }
    // Twice as much while the disk refuses.
    if store.counters.refusedBytes.load(ordering: .relaxed) > 0, take(within: room.limit) { return true }
    room.adjust(by: unconfirmed.growth(over: range))
    return false
  }

  /// Waits for the disk behind a stream that goes through the page cache for nobody's good.
  private func confirmWindow(behind range: Range<Int64>, of spill: SpillFile, _ unconfirmed: UnconfirmedWrites) {
    let window = SpillFile.window
    guard spill.isCachedAbove, range.count >= SpillFile.smallestStreamedPiece, !unconfirmed.hasRefused,
      unconfirmed.heldBytes.load(ordering: .relaxed) + Int64(range.count) > 2 * window
    else { return }
    // What it refuses stays, and is told when there is no room for it.
    try? confirm(spill, unconfirmed, window, dropping: !spill.writesUncached.load(ordering: .relaxed))
  }

  /// There are copies, which somebody has to give up if nobody writes any more.
  ///
  /// Preconditions: `writerLock` held.
  func register(_ unconfirmed: UnconfirmedWrites) {
    unconfirmed.isFresh = true
    if !unconfirmed.isRegistered {
      unconfirmed.isRegistered = true
      store.unconfirmedFiles.insert(self)
    }
    store.spiller.requestConfirming()
  }

  /// Preconditions: `writerLock` held.
  func unregister(_ unconfirmed: UnconfirmedWrites) {
    guard unconfirmed.isRegistered else { return }
    unconfirmed.isRegistered = false
    store.unconfirmedFiles.remove(ObjectIdentifier(self))
  }

  /// Gives copies up where nobody is writing any more. Called by the store's thread now and then.
  ///
  /// - Returns: whether to come again.
  func confirmIfIdle() -> Bool {
    guard writerLock.tryLock() else { return true }
    defer { writerLock.unlock() }
    guard !isExposed, let spill, let unconfirmed = spill.unconfirmed, unconfirmed.isRegistered else { return false }
    if unconfirmed.isFresh {
      // By the next time the kernel has done it, and nobody waits.
      unconfirmed.isFresh = false
      if !unconfirmed.hasRefused { spill.startWriting(0..<0) }
      return true
    }
    do throws(Errno) { try confirm(spill, unconfirmed, retrying: true) } catch { return true }
    return unconfirmed.isRegistered
  }

  /// Gives copies up unless somebody is changing the file.
  func confirmIfFree() {
    guard writerLock.tryLock() else { return }
    defer { writerLock.unlock() }
    guard !isExposed, let spill, let unconfirmed = spill.unconfirmed, !unconfirmed.isEmpty else { return }
    try? confirm(spill, unconfirmed)
  }
}

extension SpoolStore {
  /// Has copies given up that other files hold.
  func confirmOthers(than file: FileContent) {
    for other in unconfirmedFiles.all() where other !== file { other.confirmIfFree() }
  }

  /// The disk has refused bytes of the file. Called with the file's `writerLock` held.
  func didRefuse(_ file: FileContent, _ error: Errno) {
    counters.diskRefusals.add(1, ordering: .relaxed)
    refusalObserver.observer?(ObjectIdentifier(file), error)
  }
}

/// Who is told when a disk refuses what was written to it.
final class RefusalObserver: @unchecked Sendable {
  // @unchecked: `lock` protects the variable.
  private let lock = Lock()
  private var current: (@Sendable (ObjectIdentifier, Errno) -> Void)?

  var observer: (@Sendable (ObjectIdentifier, Errno) -> Void)? { lock.withLock { current } }

  func set(_ observer: (@Sendable (ObjectIdentifier, Errno) -> Void)?) { lock.withLock { current = observer } }
}

extension SpillGatherer {
  /// Takes copies of pages, as far as they lie before `end`.
  mutating func append(_ pages: PageSet, of chunk: Chunk, _ index: Int64, end: Int64) throws(Errno) {
    guard let memory = chunk.memory else { return }
    let start = index << Layout.chunkShift
    var page = 0
    while page < Layout.pagesPerChunk, let run = pages.run(from: page) {
      let first = run.lowerBound * Layout.page
      let last = Int(min(Int64(run.upperBound * Layout.page), end - start))
      if first < last {
        try append(UnsafeRawBufferPointer(start: memory + first, count: last - first), at: start + Int64(first))
      }
      page = run.upperBound
    }
  }
}
