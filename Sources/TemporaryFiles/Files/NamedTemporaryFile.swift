internal import CSpoolSystem
internal import Glibc
internal import SpoolStorage
public import SystemPackage

/// A file with a name, which others can open: Python's `tempfile.NamedTemporaryFile`.
///
/// ```swift
/// var file = try NamedTemporaryFile(suffix: ".csv")
/// try file.write(contentsOf: "a,b\n".utf8)
/// print(file.path)
/// try file.close()  // and it is gone
/// ```
///
/// The name is removed by ``close()``, when the value is dropped, and when the process ends by `exit` or by returning from
/// `main`, unless ``cleanup-swift.property`` says otherwise. It stays if the process is killed. A file that somebody else
/// removed is no error. The name is the file's own, so what others put there, as editors do that save by renaming, goes
/// with it; ``keep()``, ``reopen(_:)`` and ``persist(to:replacing:synchronize:permissions:copying:)`` take only the file itself.
public struct NamedTemporaryFile: ByteFile, ~Copyable {
  /// When the file is removed: Python's `delete` and `delete_on_close`.
  public enum Cleanup: Sendable, Hashable {
    /// By ``NamedTemporaryFile/close()``, or when the value is dropped. Python's default.
    case onClose
    /// When the value is dropped, or by ``NamedTemporaryFile/remove()``; closing keeps the file, so that others can open it
    /// by its name. Python's `delete_on_close=False`.
    case onScopeExit
    /// Not at all. Python's `delete=False`.
    case never
  }

  /// When the file is removed. It can be changed as long as the file is there.
  public var cleanup: Cleanup {
    didSet { updateRegistration() }
  }

  var channel: Channel
  /// Which file it is, once it is closed and keeps its name.
  private var identityWhenClosed: FileIdentity?
  /// Whether the name may still be there.
  private var hasName = true
  private var registration: ExitCleanup.Token?

  /// A new empty file.
  ///
  /// - Parameters:
  ///   - directory: nil takes ``TemporaryLocation/directory``.
  ///   - permissions: less those of the process's umask.
  ///   - buffering: `.standard` collects nothing, so that whoever opens the path finds what has been written.
  ///   - maximumSize: bytes that the file can hold at most; more gives `sizeLimitExceeded`.
  /// - Throws: `notFound`, `notADirectory`, `permissionDenied`, `noSpace`, `invalidName`, `namesExhausted`, and others of
  ///   open(2). Nothing is left behind.
  public init(
    in directory: FilePath? = nil, prefix: NameAffix = TemporaryLocation.prefix, suffix: NameAffix = "",
    permissions: FilePermissions = .ownerReadWrite, buffering: Buffering = .standard, cleanup: Cleanup = .onClose,
    maximumSize: Int64? = nil
  ) throws(TemporaryFileError) {
    let template = try NameTemplate(prefix: prefix, suffix: suffix, for: Creation.operation)
    let (file, path) = try Creation.makeNamed(
      in: Creation.directory(directory), template, permissions: permissions)
    self.path = path
    channel = Channel(
      descriptor: file, path: path, buffer: FileBuffer(buffering, standard: 0), maximumSize: maximumSize)
    self.cleanup = cleanup
    updateRegistration()
  }

  /// A file that lives in a tree.
  package init(_ backing: any FileBacking, cleanup: Cleanup, maximumSize: Int64?) {
    path = backing.path ?? FilePath()
    channel = Channel(backing, path: path, maximumSize: maximumSize)
    self.cleanup = cleanup
  }

  deinit {
    // The channel closes the file when it is dropped, after this.
    if cleanup == .never {
      try? channel.flush()
      try? channel.bytes.backing?.close(removing: false)
    } else if hasName {
      // In a forked process it is the parent's.
      if let registration, !ExitCleanup.isOwn(registration) { return }
      try? removeName()
    }
    if let registration { ExitCleanup.unregister(registration) }
  }

  private mutating func updateRegistration() {
    let isWanted = cleanup != .never && hasName
    if isWanted, registration == nil, channel.bytes.backing == nil {
      registration = ExitCleanup.register(.file(path))
    } else if !isWanted, let token = registration {
      ExitCleanup.unregister(token)
      registration = nil
    }
  }

  /// Whether the file has been closed: Python's `closed`.
  public var isClosed: Bool { channel.isClosed }

  /// The file's absolute path; for a file in a tree, the path there. It stays readable after ``close()``.
  public let path: FilePath

  /// Bytes from the beginning to where the next read or write begins: Python's `tell()`.
  ///
  /// - Throws: `closed`.
  public var position: Int64 {
    get throws(TemporaryFileError) { try channel.position }
  }

  /// The size in bytes, with what is still in a buffer.
  ///
  /// - Throws: `closed`.
  public var size: Int64 {
    get throws(TemporaryFileError) { try channel.size }
  }

  /// Always: the file is on disk.
  public var mayBlock: Bool { true }

  /// How the file was opened, in Python's notation.
  public var mode: String { "rb+" }

  /// Fills `buffer` from ``position`` on, and moves that. Python's `readinto()`.
  ///
  /// - Returns: the number of bytes read, less than asked for only at the end of the file.
  /// - Throws: `closed`; `failed` for what the disk answers.
  public mutating func read(into buffer: UnsafeMutableRawBufferPointer) throws(TemporaryFileError) -> Int {
    try channel.read(into: buffer)
  }

  /// Writes all of `bytes` at ``position``, and moves that. Python's `write()`.
  ///
  /// - Throws: `closed`, `noSpace`, `sizeLimitExceeded`, `failed`.
  public mutating func write(_ bytes: UnsafeRawBufferPointer) throws(TemporaryFileError) {
    try channel.write(bytes)
  }

  /// Moves ``position`` and returns it. It may lie past the end. Python's `seek()`.
  ///
  /// - Throws: `closed`; `invalidArgument` for a position below 0.
  @discardableResult
  public mutating func seek(to offset: Int64, from origin: SeekOrigin) throws(TemporaryFileError) -> Int64 {
    try channel.seek(to: offset, from: origin)
  }

  /// Cuts the file, or makes it longer by a hole; ``position`` stays. Python's `truncate()`.
  ///
  /// - Throws: as ``write(_:)``; `invalidArgument` for a negative size.
  public mutating func resize(to size: Int64) throws(TemporaryFileError) {
    try channel.resize(to: size)
  }

  /// Hands what is in a buffer to the system: Python's `flush()`.
  ///
  /// - Throws: `closed`, and what writing gives; what could not be written stays in the buffer.
  public mutating func flush() throws(TemporaryFileError) {
    try channel.flush()
  }

  /// The descriptor, after writing out what is in the buffer: Python's `fileno()`. It stays the file's, and is closed
  /// with it.
  ///
  /// From then on nothing is buffered, and the ``position`` is the descriptor's offset, which programs that inherit it
  /// share. The descriptor is close-on-exec; how a program is started says what it inherits.
  ///
  /// - Throws: `unsupported` for a file in a tree, `closed`, and what writing out gives.
  public mutating func fileDescriptor() throws(TemporaryFileError) -> FileDescriptor {
    try channel.fileDescriptor()
  }

  /// Opens the file's path anew, and makes sure that it still is this file. The new descriptor, with an offset of its
  /// own at the beginning, is the caller's to close. It works after ``close()`` too, where that keeps the file.
  ///
  /// - Throws: `notFound`; `replaced` when another file has taken the name; `unsupported` for a file in a tree; others of
  ///   open(2).
  public func reopen(_ mode: FileDescriptor.AccessMode = .readWrite) throws(TemporaryFileError) -> FileDescriptor {
    do throws(Errno) {
      guard let identity = try identity else { throw .notSupported }
      if !isClosed { try channel.bytes.flush() }
      // First by its name: opening what somebody else put there may have effects, or wait for ever.
      if try FileIdentity(at: path) == identity {
        let file = try retryingInterrupts {
          path.withPlatformString { spool_openat(AT_FDCWD, $0, mode.rawValue | O_NOFOLLOW | O_CLOEXEC, 0) }
        }
        if (try? FileIdentity(of: file)) == identity { return FileDescriptor(rawValue: file) }
        try Descriptor.close(file)
      }
    } catch {
      throw channel.failure(error, "open anew")
    }
    throw replaced("open anew")
  }

  /// Removes the name now, and leaves the file open. Nothing happens when it has been removed before, by whomever.
  ///
  /// - Throws: `replaced` when a directory has taken the name, which stays; what unlink(2) gives, such as
  ///   `permissionDenied`.
  public mutating func remove() throws(TemporaryFileError) {
    do throws(Errno) { try removeName() } catch {
      throw error == .isDirectory ? replaced("remove") : channel.failure(error, "remove")
    }
    hasName = false
    updateRegistration()
  }

  /// Makes the file permanent: it is the caller's from now on. Also possible after ``close()``, where that kept the file.
  ///
  /// - Returns: the path.
  /// - Throws: `notFound` if the file has been removed; `replaced` when another one has taken its name.
  public mutating func keep() throws(TemporaryFileError) -> FilePath {
    guard hasName else { throw channel.failure(.noSuchFileOrDirectory, "keep") }
    do throws(Errno) {
      if let identity = try identity, try FileIdentity(at: path) != identity { throw .staleNFSFileHandle }
    } catch {
      throw error == .staleNFSFileHandle ? replaced("keep") : channel.failure(error, "keep")
    }
    cleanup = .never
    return path
  }

  /// Closes the file, and removes it if ``cleanup-swift.property`` is `.onClose`.
  public mutating func close() throws(TemporaryFileError) {
    if isClosed { return }
    var failed: TemporaryFileError?
    if cleanup == .onClose {
      do throws(TemporaryFileError) { try remove() } catch { failed = error }
    } else if hasName, let file = channel.bytes.descriptor {
      identityWhenClosed = try? FileIdentity(of: file)
    }
    do throws(TemporaryFileError) {
      try channel.close(writing: cleanup != .onClose, removing: cleanup == .onClose)
    } catch {
      failed = failed ?? error
    }
    if let failed { throw failed }
  }

  /// The file is permanent. What is left of the temporary one goes, unless its name is the permanent one.
  mutating func didPersist(inPlace: Bool = false) throws(TemporaryFileError) {
    cleanup = inPlace ? .never : .onClose
    try close()
  }

  /// Which file it is; nil for a file in a tree.
  var identity: FileIdentity? {
    get throws(Errno) {
      if let file = channel.bytes.descriptor { return try FileIdentity(of: file) }
      return identityWhenClosed
    }
  }

  private func removeName() throws(Errno) {
    guard hasName else { return }
    if let backing = channel.bytes.backing { return try backing.remove() }
    do throws(Errno) {
      try retryingInterrupts { path.withPlatformString { unlink($0) } }
    } catch .noSuchFileOrDirectory, .notDirectory {
      // Somebody else removed it, or what it was in.
    } catch {
      throw error
    }
  }

  private func replaced(_ operation: String) -> TemporaryFileError {
    TemporaryFileError(
      .replaced, operation: operation, path: path, errno: .staleNFSFileHandle,
      message: "something else has taken its name")
  }
}
