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
        switch victim.file?.spillIfIdle() {
        case .freed(let gain): relief.freed += gain
        case .busy: relief.sawBusyFiles = true
        case .unsuitable, nil: break
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
