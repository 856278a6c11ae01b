internal import Synchronization

extension SpoolStore {
  /// Moves files to disk, the coldest and largest first, until `bytes` of memory have been freed. Files that are being
  /// written to at this moment are passed over.
  ///
  /// - Returns: the bytes freed, less than asked for when there is nothing more to move or moving fails.
  /// - Complexity: O(files larger than 32 KiB) and the bytes moved.
  @discardableResult
  public func relieveMemory(_ bytes: Int64) -> Int64 { relieve(bytes, excluding: nil).freed }

  struct Relief {
    /// Bytes of memory.
    var freed: Int64 = 0
    /// Whether files were passed over because somebody was changing them.
    var sawBusyFiles = false
  }

  func relieve(_ bytes: Int64, excluding excluded: FileContent?) -> Relief {
    var relief = Relief()
    var limit = 32
    while relief.freed < bytes {
      var victims = candidates.victims(
        atMost: limit, now: counters.clock.load(ordering: .relaxed), excluding: excluded)
      let areAll = victims.count < limit
      let before = relief.freed
      while relief.freed < bytes, let victim = victims.popLast() {
        switch spill(victim) {
        case .freed(let gain): relief.freed += gain
        case .busy: relief.sawBusyFiles = true
        case .unsuitable: break
        case .failed: return Relief(freed: relief.freed)
        }
      }
      if relief.freed == before {
        if areAll { break }
        // None of the best could go; look further.
        limit *= 8
      }
    }
    return relief
  }

  /// The end of the move is signalled when the file is not referenced from here any more: if it was deleted meanwhile,
  /// what it held is free then.
  private func spill(_ victim: Candidates.Victim) -> FileContent.SpillOutcome {
    moveBegins()
    defer { moveEnded() }
    return victim.spill()
  }

  /// Takes data pages. False if there are not that many left.
  func reserveData(_ pages: Int64) -> Bool {
    if data.reserve(pages) { return true }
    // A file that was deleted while it is moved keeps its pages until the move ends.
    let seen = moves.current()
    if pages <= data.limit, counters.movesUnderWay.load(ordering: .acquiring) > 0 { moves.wait(after: seen) }
    return data.reserve(pages)
  }

  /// Takes `bytes` of the budget, after moving other files to disk if needed. False if there is no making room.
  func reserveMemoryBySpillingOthers(_ bytes: Int64, for file: FileContent) -> Bool {
    while !memory.reserve(bytes) {
      if bytes > memory.limit { return false }
      let seen = moves.current()
      if relieve(bytes, excluding: file).freed > 0 { continue }
      // What others are moving right now frees memory too. They never wait for anybody, so waiting for them is safe.
      if counters.movesUnderWay.load(ordering: .acquiring) == 0 { return memory.reserve(bytes) }
      moves.wait(after: seen)
    }
    return true
  }

  func moveBegins() { counters.movesUnderWay.add(1, ordering: .relaxed) }

  func moveEnded() {
    counters.movesUnderWay.subtract(1, ordering: .releasing)
    moves.signal()
  }
}
