internal import CSpoolSystem
internal import Glibc
internal import SpoolStorage
internal import SystemPackage

/// The name of a directory entry, as system calls want it.
struct EntryName: Hashable {
  /// With a NUL at the end.
  private let bytes: [CChar]

  init(_ pointer: UnsafePointer<CChar>) {
    bytes = Array(UnsafeBufferPointer(start: pointer, count: strlen(pointer) + 1))
  }

  init(_ component: FilePath.Component) { self = component.withPlatformString { EntryName($0) } }

  var component: FilePath.Component { withPointer { FilePath.Component(platformString: $0)! } }

  /// Stands for the directory itself among its entries.
  static let itself = EntryName(".")

  static let parent = EntryName("..")

  func withPointer<Result>(_ body: (UnsafePointer<CChar>) throws(Errno) -> Result) throws(Errno) -> Result {
    var outcome: Swift.Result<Result, Errno>?
    bytes.withUnsafeBufferPointer { buffer in
      do throws(Errno) { outcome = .success(try body(buffer.baseAddress!)) } catch { outcome = .failure(error) }
    }
    return try outcome!.get()
  }

  func withPointer<Result>(_ body: (UnsafePointer<CChar>) -> Result) -> Result {
    bytes.withUnsafeBufferPointer { body($0.baseAddress!) }
  }
}

extension FileIdentity {
  /// That of a directory's entry, not following links. The corresponding system call is fstatat(2).
  init(ofEntry name: EntryName, in directory: Int32) throws(Errno) {
    var status = stat()
    try retryingInterrupts { name.withPointer { fstatat(directory, $0, &status, AT_SYMLINK_NOFOLLOW) } }
    self.init(status)
  }
}

extension TreeRemoval {
  /// What the owner needs to list a directory and to remove its entries.
  private static let needed = mode_t(0o700)

  /// A listing that goes on for longer is of a directory that is being filled, and starts again.
  private static let longestListing = 1 << 22

  /// Opens a subdirectory so that it can be listed and emptied, which may change its mode.
  ///
  /// - Throws: ESTALE if it is not the one that is expected; EXDEV if another filesystem is mounted there.
  mutating func openDirectory(
    _ name: EntryName, in directory: Int32, expecting expected: FileIdentity? = nil
  ) throws(Errno) -> (file: Int32, identity: FileIdentity) {
    let file: Int32
    do throws(Errno) {
      file = try openDescriptor(O_RDONLY, name, in: directory)
    } catch .permissionDenied {
      file = try openUnreadable(name, in: directory, expecting: expected)
    }
    do throws(Errno) {
      let status = try status(of: file, expecting: expected)
      // Where it fails, unlinkat(2) tells why.
      if Self.isMissingPermissions(status) { fchmod(file, status.st_mode & 0o7777 | Self.needed) }
      return (file, FileIdentity(status))
    } catch {
      close(file)
      throw error
    }
  }

  /// Opens a directory after its owner, who we are, has been given the right to.
  private mutating func openUnreadable(
    _ name: EntryName, in directory: Int32, expecting expected: FileIdentity?
  ) throws(Errno) -> Int32 {
    let place = try openDescriptor(spool_O_PATH, name, in: directory)
    defer { close(place) }
    let status = try status(of: place, expecting: expected)
    guard Self.isMissingPermissions(status) else { throw .permissionDenied }
    try retryingInterrupts { spool_chmod_path_descriptor(place, status.st_mode & 0o7777 | Self.needed) }
    return try openDescriptor(O_RDONLY, .itself, in: place)
  }

  private func status(of file: Int32, expecting expected: FileIdentity?) throws(Errno) -> stat {
    var status = stat()
    try retryingInterrupts { fstat(file, &status) }
    if let expected, expected != FileIdentity(status) { throw .staleNFSFileHandle }
    return status
  }

  private static func isMissingPermissions(_ status: stat) -> Bool {
    status.st_mode & needed != needed && status.st_uid == geteuid()
  }

  /// Opens a directory in another; if descriptors have run out, with those of this removal that can do without.
  mutating func openDescriptor(_ flags: Int32, _ name: EntryName, in directory: Int32) throws(Errno) -> Int32 {
    let open = { () throws(Errno) in
      try retryingInterrupts { name.withPointer { spool_open_subdirectory(directory, $0, flags) } }
    }
    do throws(Errno) { return try open() } catch .tooManyOpenFiles, .tooManyOpenFilesInSystem {
      closeFrames()
      return try open()
    }
  }

  /// Removes what the last frame's directory holds, except directories: those are for later.
  mutating func list() {
    let index = frames.count - 1
    let file = frames[index].file
    frames[index].passes += 1
    frames[index].needsListing = false
    frames[index].hasChanged = false
    let isFirstPass = frames[index].passes == 1
    if !isFirstPass { lseek(file, 0, SEEK_SET) }
    var entries = 0
    while entries < Self.longestListing {
      let count = spool_list_directory(file, records.baseAddress!, records.count)
      if count < 0, errno == EINTR { continue }
      // ENOENT: the directory itself is gone.
      if count < 0, errno != ENOENT { fail(.itself, currentErrno()) }
      guard count > 0 else { return }
      var rest = UnsafeRawBufferPointer(rebasing: records[..<count])
      while !rest.isEmpty {
        let record = DirectoryRecord(rest)
        if !record.isDots {
          entries += 1
          if !hasFailed(record.name) { removeEntry(record) }
        }
        rest = UnsafeRawBufferPointer(rebasing: rest[record.length...])
      }
      // That seems to be all. If it is not, removing the directory fails, and it is listed again, to its end; likewise if
      // something in it could not be removed.
      if isFirstPass, count < records.count / 2 {
        frames[index].hasChanged = true
        return
      }
    }
  }

  private func hasFailed(_ name: UnsafePointer<CChar>) -> Bool {
    let failed = frames[frames.count - 1].failed
    return !failed.isEmpty && failed.contains(EntryName(name))
  }

  private mutating func removeEntry(_ record: DirectoryRecord) {
    let index = frames.count - 1
    let file = frames[index].file
    guard !record.isDirectory else { return frames[index].pending.append(EntryName(record.name)) }
    do throws(Errno) {
      try unlink(record.name, in: file)
      frames[index].hasChanged = true
    } catch .noSuchFileOrDirectory {
      frames[index].hasChanged = true
    } catch .isDirectory {
      frames[index].pending.append(EntryName(record.name))
    } catch .notPermitted where isDirectory(record.name, in: file) {
      // What POSIX wants unlink(2) of a directory to answer.
      frames[index].pending.append(EntryName(record.name))
    } catch {
      fail(EntryName(record.name), error)
    }
  }

  private func isDirectory(_ name: UnsafePointer<CChar>, in directory: Int32) -> Bool {
    var status = stat()
    return fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) == 0 && status.st_mode & S_IFMT == S_IFDIR
  }

  /// Removes an entry that is no directory; if somebody has taken our permissions since it was opened, once more.
  private func unlink(_ name: UnsafePointer<CChar>, in directory: Int32) throws(Errno) {
    do throws(Errno) {
      try retryingInterrupts { unlinkat(directory, name, 0) }
    } catch .permissionDenied {
      var status = stat()
      guard fstat(directory, &status) == 0, Self.isMissingPermissions(status) else { throw .permissionDenied }
      fchmod(directory, status.st_mode & 0o7777 | Self.needed)
      try retryingInterrupts { unlinkat(directory, name, 0) }
    }
  }
}

/// One record of getdents64(2), in the buffer that it came in.
private struct DirectoryRecord {
  private static let lengthOffset = MemoryLayout<spool_directory_record>.offset(of: \.length)!
  private static let typeOffset = MemoryLayout<spool_directory_record>.offset(of: \.type)!

  let length: Int
  let isDirectory: Bool
  let name: UnsafePointer<CChar>

  init(_ buffer: UnsafeRawBufferPointer) {
    length = Int(buffer.loadUnaligned(fromByteOffset: Self.lengthOffset, as: UInt16.self))
    isDirectory = buffer[Self.typeOffset] == UInt8(DT_DIR)
    name = (buffer.baseAddress! + Self.typeOffset + 1).assumingMemoryBound(to: CChar.self)
  }

  /// Whether it is "." or "..".
  var isDots: Bool {
    name[0] == dot && (name[1] == 0 || (name[1] == dot && name[2] == 0))
  }
}

private let dot = CChar(UInt8(ascii: "."))
