public import SystemPackage

/// A file on disk without a name, gone when it is closed or dropped or the process ends: Python's
/// `tempfile.TemporaryFile`.
///
/// It is made with `O_TMPFILE` where the filesystem has that, so that it has no name at any moment, else under a random
/// name that is removed at once. ``persist(to:replacing:synchronize:permissions:)`` can give it a name later.
public struct TemporaryFile: ByteFile, ~Copyable {
  var channel: Channel

  /// A new empty file.
  ///
  /// - Parameters:
  ///   - directory: nil takes ``TemporaryLocation/directory``.
  ///   - prefix: the beginning of the name, where there has to be one for a moment.
  ///   - suffix: the end of it.
  ///   - permissions: less those of the process's umask.
  ///   - maximumSize: bytes that the file can hold at most; more gives `sizeLimitExceeded`.
  /// - Throws: `notFound`, `notADirectory`, `permissionDenied`, `noSpace`, `invalidName`, and others of open(2). Nothing is
  ///   left behind.
  public init(
    in directory: FilePath? = nil, prefix: NameAffix = TemporaryLocation.prefix, suffix: NameAffix = "",
    permissions: FilePermissions = .ownerReadWrite, buffering: Buffering = .standard, maximumSize: Int64? = nil
  ) throws(TemporaryFileError) {
    let template = try NameTemplate(prefix: prefix, suffix: suffix, for: Creation.operation)
    let file = try Creation.makeUnnamed(in: Creation.directory(directory), template, permissions: permissions)
    channel = Channel(
      descriptor: file, buffer: FileBuffer(buffering, standard: Buffering.standardCapacity),
      maximumSize: maximumSize)
  }

  /// A file that lives in a tree.
  package init(_ backing: any FileBacking, maximumSize: Int64?) {
    channel = Channel(backing, maximumSize: maximumSize)
  }

  /// Whether the file has been closed: Python's `closed`.
  public var isClosed: Bool { channel.isClosed }

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

  /// Opens the file anew, with an offset of its own at the beginning. The new descriptor is the caller's to close.
  ///
  /// - Throws: `unsupported` for a file in a tree, `closed`, and what opening gives.
  public mutating func reopen(_ mode: FileDescriptor.AccessMode = .readWrite) throws(TemporaryFileError)
    -> FileDescriptor
  {
    try channel.reopen(mode)
  }

  /// Closes the file, which is gone then. Once more does nothing. Python's `close()`.
  ///
  /// - Throws: what closing gives. The handle is closed in any case.
  public mutating func close() throws(TemporaryFileError) {
    try channel.close(writing: false)
  }
}
