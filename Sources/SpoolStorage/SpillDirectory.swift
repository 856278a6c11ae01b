internal import CSpoolSystem
internal import Glibc
internal import Synchronization
package import SystemPackage

/// Where spill files are made. Held by descriptor: a directory that is renamed, a changed working directory, or a
/// filesystem mounted over it later (ours, for one) make no difference.
package final class SpillDirectory: Sendable {
  let path: FilePath
  /// Whether its files are memory (a tmpfs), so that spilling gains nothing.
  package let isMemoryBacked: Bool
  /// Whether the filesystem tells of a range of a file what came of writing it.
  private let tellsOfRanges: Bool
  private let directory: Int32
  private let makesUnnamedFiles: Bool
  private let freeBytesLock = Lock()
  private let freeBytesValue = Atomic<Int64>(0)
  private let freeBytesTime = Atomic<Int64>(-2)

  /// Opens the directory and makes sure that files can be made in it.
  ///
  /// - Parameter unnamed: false never uses O_TMPFILE, as on filesystems without it.
  /// - Throws: ENOENT, ENOTDIR, EACCES, EROFS, and whatever else opening a file there gives.
  package init(_ path: FilePath, unnamed: Bool = true) throws(Errno) {
    let directory = path.withPlatformString { spool_openat(AT_FDCWD, $0, spool_O_PATH | O_DIRECTORY | O_CLOEXEC, 0) }
    guard directory >= 0 else { throw currentErrno() }
    do throws(Errno) {
      let makesUnnamedFiles = unnamed ? try Self.supportsUnnamedFiles(directory) : false
      if !makesUnnamedFiles { close(try Self.openNamed(in: directory)) }
      let isMemoryBacked = try retryingInterrupts { spool_is_memory_backed(directory) }
      self.path = path
      self.directory = directory
      tellsOfRanges = Self.tellsOfRanges(directory)
      self.makesUnnamedFiles = makesUnnamedFiles
      self.isMemoryBacked = isMemoryBacked == 1
    } catch {
      close(directory)
      throw error
    }
  }

  deinit { close(directory) }

  /// A new empty file without a name. A directory that has been removed and made anew is used again.
  ///
  /// - Throws: EMFILE, ENFILE, ENOSPC, ENOENT when the directory has been removed, and others of open(2).
  func makeFile(for store: SpoolStore) throws(Errno) -> SpillFile {
    SpillFile(
      owning: try openFile(), encryptedWith: store.spillKey,
      isCachedAbove: store.isCachedAbove.load(ordering: .relaxed) && !isMemoryBacked,
      unconfirmed: isMemoryBacked ? nil : UnconfirmedWrites(store: store), tellsOfRanges: tellsOfRanges,
      closer: store.closer)
  }

  private static func tellsOfRanges(_ directory: Int32) -> Bool {
    guard spool_tells_of_ranges(directory) != 0 else { return false }
    var status = stat()
    guard fstat(directory, &status) == 0 else { return false }
    // ext2 has no journal that would fail with the blocks that say where the bytes are. It tells of them only by fsync(2).
    let device = "\(spool_device_major(status.st_dev)):\(spool_device_minor(status.st_dev))"
    for line in (contentsOfSystemFile("/proc/self/mountinfo") ?? "").split(separator: "\n") {
      let fields = line.split(separator: " ")
      if fields.count > 2, fields[2] == device, let dash = fields.firstIndex(of: "-"), dash + 1 < fields.count {
        return fields[dash + 1] != "ext2"
      }
    }
    return true
  }

  private func openFile() throws(Errno) -> Int32 {
    do throws(Errno) {
      return try makesUnnamedFiles ? Self.openUnnamed(in: directory) : Self.openNamed(in: directory)
    } catch {
      // For O_TMPFILE in a removed directory kernels say EPERM and others.
      guard isRemoved else { throw error }
      // A relative path may mean another place by now.
      guard path.isAbsolute else { throw .noSuchFileOrDirectory }
      // Opened each time, since the new one may be removed as well.
      return try SpillDirectory(path, unnamed: makesUnnamedFiles).openFile()
    }
  }

  private var isRemoved: Bool {
    var status = stat()
    return fstat(directory, &status) == 0 && status.st_nlink == 0
  }

  /// Bytes that can still be written there, at most a second old.
  func freeBytes() -> Int64 {
    let now = coarseSeconds()
    // Whoever finds the lock taken uses the value from before: status requests must not queue up behind a slow disk.
    if freeBytesTime.load(ordering: .acquiring) != now, freeBytesLock.tryLock() {
      freeBytesValue.store(currentFreeBytes(), ordering: .relaxed)
      freeBytesTime.store(now, ordering: .releasing)
      freeBytesLock.unlock()
    }
    return freeBytesValue.load(ordering: .relaxed)
  }

  /// The same, asked for now.
  func currentFreeBytes() -> Int64 { max(0, Int64(spool_free_bytes(directory))) }

  private static func openUnnamed(in directory: Int32) throws(Errno) -> Int32 {
    try retryingInterrupts { spool_open_unnamed(directory) }
  }

  private static func supportsUnnamedFiles(_ directory: Int32) throws(Errno) -> Bool {
    do throws(Errno) {
      close(try openUnnamed(in: directory))
      return true
    } catch {
      // EOPNOTSUPP says the filesystem, EISDIR and ENOENT a kernel or server that does not know the flag.
      if error == .notSupported || error == .isDirectory || error == .noSuchFileOrDirectory { return false }
      throw error
    }
  }

  /// Makes a file under a random name and removes the name before anything is written.
  private static func openNamed(in directory: Int32) throws(Errno) -> Int32 {
    var remaining = 100
    while true {
      let name = ".spool-" + String(UInt64.random(in: .min ... .max), radix: 36)
      let file = spool_openat(directory, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o600)
      if file >= 0 {
        if unlinkat(directory, name, 0) == 0 { return file }
        let error = currentErrno()
        close(file)
        throw error
      }
      let error = currentErrno()
      remaining -= 1
      if remaining == 0 || (error != .fileExists && error != .interrupted) { throw error }
    }
  }
}

/// Where the files of a store go when they leave memory.
package enum SpillTarget: Sendable {
  /// Files stay in memory.
  case nowhere
  case directory(SpillDirectory)
  /// Asked each time a file goes to disk.
  case chosenLate(@Sendable () throws(Errno) -> SpillDirectory)

  var isNowhere: Bool { if case .nowhere = self { true } else { false } }

  /// - Throws: ENOSPC when files stay in memory, and what opening the directory gives.
  func open() throws(Errno) -> SpillDirectory {
    switch self {
    case .nowhere: throw .noSpace
    case .directory(let directory): directory
    case .chosenLate(let choose): try choose()
    }
  }
}
