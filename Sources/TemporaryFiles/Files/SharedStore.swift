public import SpoolStorage
internal import Synchronization
internal import SystemPackage

extension SpoolStore {
  /// The store of spooled files that are given no other: a quarter of the memory that the process may use, 64 MiB a file.
  ///
  /// Its files spill to the directory in the variable `SPOOLFS_SPILL_DIR`, else to ``TemporaryLocation/directory``. Where
  /// nobody chose that one and its files are memory themselves, as on systems with a tmpfs on /tmp, they spill to
  /// /var/tmp. It is looked for when a file first goes to disk, and again when ``TemporaryLocation/override`` changes.
  public static let shared = SpoolStore(
    SpoolConfiguration(), spillingTo: .chosenLate { () throws(Errno) in try SharedSpillDirectory.open() },
    isPermanent: true)
}

/// The spill directory of the shared store, kept open until another one is to be used.
private enum SharedSpillDirectory {
  private struct Opened {
    let place: FilePath
    let directory: SpillDirectory
  }

  private static let opened = Mutex<Opened?>(nil)

  static func open() throws(Errno) -> SpillDirectory {
    let place = try place()
    let known = opened.withLock { $0 }
    if let known, known.place == place { return known.directory }
    var directory = try SpillDirectory(place)
    if directory.isMemoryBacked, !isChosen, let onDisk = try? SpillDirectory("/var/tmp"), !onDisk.isMemoryBacked {
      directory = onDisk
    }
    opened.withLock { [directory] in $0 = Opened(place: place, directory: directory) }
    return directory
  }

  private static var isChosen: Bool { TemporaryLocation.isChosen || environmentPath("SPOOLFS_SPILL_DIR") != nil }

  private static func place() throws(Errno) -> FilePath {
    if TemporaryLocation.override == nil, let named = environmentPath("SPOOLFS_SPILL_DIR") { return named }
    do throws(TemporaryFileError) { return try TemporaryLocation.directory } catch {
      throw error.errno ?? .noSuchFileOrDirectory
    }
  }
}
