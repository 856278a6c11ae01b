internal import Glibc
internal import Synchronization
internal import SystemPackage

/// Closes the descriptors of spill files on a thread of its own. Freeing the blocks of many files, or of large ones, keeps
/// the disk busy for seconds, and whoever ends files (over a ring one thread takes all FORGETs) must not wait for that.
///
/// A file counts as gone when its descriptor is here. So whoever then finds the disk full, or no descriptor, waits until all
/// that are here are closed, and tries again.
final class DeferredCloser: @unchecked Sendable {
  // @unchecked: `lock` protects the variables.

  private struct Entry {
    var file: Int32
    var pages: Int64
  }

  /// How long the thread waits for more before it ends.
  private static let patience = Duration.seconds(1)

  private let lock = Lock()
  private var entries: [Entry] = []
  private var isRunning = false
  private let changed = EventCount()

  /// Descriptors that are not closed yet, and their pages on disk.
  private let pendingFiles = Atomic<Int>(0)
  private let pages = Atomic<Int64>(0)
  private let closed = EventCount()

  /// Pages of 4 KiB that the disk will soon have free.
  var pendingPages: Int64 { pages.load(ordering: .relaxed) }

  /// Closes the descriptor of a file that has so many pages on disk, soon.
  func close(_ file: Int32, pages count: Int64) {
    pendingFiles.add(1, ordering: .relaxed)
    pages.add(count, ordering: .relaxed)
    let hasThread = lock.withLock {
      entries.append(Entry(file: file, pages: count))
      defer { isRunning = true }
      return isRunning
    }
    if hasThread { return changed.signal() }
    do throws(Errno) {
      try SystemThread.start(named: "spool-closer") { self.run() }
    } catch {
      // Here, then. The next one tries again.
      while closeAll(endsIfNone: true) {}
    }
  }

  /// Waits until all that are here now are closed.
  ///
  /// - Returns: whether there were any.
  func drain() -> Bool {
    var hadFiles = false
    while true {
      let seen = closed.current()
      if pendingFiles.load(ordering: .acquiring) == 0 { return hadFiles }
      hadFiles = true
      closed.wait(after: seen)
    }
  }

  /// Runs `body`, and once more if there was no room for what it does while room was about to come.
  @inline(__always)
  func retrying<Result>(_ body: () throws(Errno) -> Result) throws(Errno) -> Result {
    do throws(Errno) {
      return try body()
    } catch {
      guard Self.isShortage(error), drain() else { throw error }
      return try body()
    }
  }

  private static func isShortage(_ error: Errno) -> Bool {
    error == .noSpace || error == .diskQuotaExceeded || error == .tooManyOpenFiles || error == .tooManyOpenFilesInSystem
  }

  // MARK: - The thread

  private func run() {
    while true {
      let seen = changed.current()
      if closeAll(endsIfNone: false) { continue }
      changed.wait(after: seen, timeout: Self.patience)
      if !closeAll(endsIfNone: true) { return }
    }
  }

  /// - Parameter endsIfNone: whether the thread ends when it finds none: the next one starts another.
  /// - Returns: whether there were any.
  @discardableResult
  private func closeAll(endsIfNone: Bool) -> Bool {
    let batch = lock.withLock {
      defer { entries = [] }
      if entries.isEmpty, endsIfNone { isRunning = false }
      return entries
    }
    for entry in batch {
      Glibc.close(entry.file)
      pages.subtract(entry.pages, ordering: .relaxed)
      pendingFiles.subtract(1, ordering: .releasing)
    }
    if !batch.isEmpty { closed.signal() }
    return !batch.isEmpty
  }
}
