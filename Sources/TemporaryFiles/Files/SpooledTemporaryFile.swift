public import SpoolStorage
public import SystemPackage

/// A file in memory that continues on disk once it outgrows its threshold: Python's `tempfile.SpooledTemporaryFile`.
///
/// ```swift
/// var file = try SpooledTemporaryFile(threshold: .bytes(1 << 20))
/// try file.write(contentsOf: "a,b\n".utf8)
/// try file.seek(to: 0)
/// let bytes = try file.readToEnd()
/// ```
///
/// The write that would make the file larger than the threshold moves it to disk first; a file of exactly that size
/// stays. Position, bytes and holes are the same before and after. A move that fails (`rolloverFailed`) has changed
/// nothing. The file on disk never has a name, so nothing is left of it even if the process is killed. Cut to nothing, it
/// begins again in memory, which Python's does not.
///
/// All files of a ``SpoolStore`` share its memory budget: when that is used up, files go to disk whatever their threshold.
public struct SpooledTemporaryFile: ByteFile, ~Copyable {
  var channel: Channel

  /// An empty file in memory.
  ///
  /// - Parameters:
  ///   - threshold: the largest size in memory; `.bytes(0)` is disk from the first byte. nil takes the store's. Python's
  ///     `max_size`, but for 0, which there means that no size is too large: that is `.unlimited` here.
  ///   - directory: where the file goes on disk. nil takes the store's directory.
  ///   - maximumSize: bytes that the file can hold at most, wherever it is; more gives `sizeLimitExceeded`.
  ///   - store: whose memory budget, spill directory and encryption the file uses. nil takes ``SpoolStore/shared``.
  /// - Throws: what using `directory` gives; nothing without one.
  public init(
    threshold: SpoolConfiguration.Threshold? = nil, in directory: FilePath? = nil, maximumSize: Int64? = nil,
    store: SpoolStore? = nil
  ) throws(TemporaryFileError) {
    let content =
      if directory == nil, store == nil {
        FileContent(store: .shared, threshold: threshold, spillingTo: nil)
      } else {
        try Self.content(store: store ?? .shared, threshold, spillingTo: directory)
      }
    channel = Channel(content, maximumSize: maximumSize)
  }

  private static func content(
    store: SpoolStore, _ threshold: SpoolConfiguration.Threshold?, spillingTo directory: FilePath?
  ) throws(TemporaryFileError) -> FileContent {
    guard let directory else { return FileContent(store: store, threshold: threshold) }
    let own = try wrap("use for spooled files the directory", directory) { () throws(Errno) in
      try SpillDirectory(directory)
    }
    return FileContent(store: store, threshold: threshold, spillingTo: own)
  }

  /// A spooled file whose bytes live in a tree.
  package init(_ backing: any FileBacking, maximumSize: Int64?) {
    channel = Channel(backing, path: backing.path, maximumSize: maximumSize)
  }

  /// Whether the file has been closed: Python's `closed`.
  public var isClosed: Bool { channel.isClosed }

  /// The path in the tree that the file was made in. nil for every other spooled file, on disk too.
  public var path: FilePath? { channel.path }

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

  /// Once the file is on disk.
  public var mayBlock: Bool { isRolledOver }

  /// Whether the bytes are on disk.
  public var isRolledOver: Bool { channel.bytes.content?.isRolledOver ?? channel.bytes.backing?.isRolledOver ?? false }

  /// How the file was opened, in Python's notation: "w+b" in memory, "rb+" on disk, as CPython has it.
  public var mode: String { isRolledOver ? "rb+" : "w+b" }

  /// Fills `buffer` from ``position`` on, and moves that. Python's `readinto()`.
  ///
  /// - Returns: the number of bytes read, less than asked for only at the end of the file.
  /// - Throws: `closed`; `failed` for what the disk answers.
  public mutating func read(into buffer: UnsafeMutableRawBufferPointer) throws(TemporaryFileError) -> Int {
    try channel.read(into: buffer)
  }

  /// Writes all of `bytes` at ``position``, and moves it. The file goes to disk first if it would outgrow its threshold.
  ///
  /// - Throws: `rolloverFailed` when that fails: the file is in memory as it was, and so is the position;
  ///   `sizeLimitExceeded`, `closed`, `noSpace`, `failed`.
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

  /// Cuts the file, or makes it longer by a hole. Growing past the threshold moves it to disk. ``position`` stays.
  ///
  /// - Throws: as ``write(_:)``; `invalidArgument` for a negative size.
  public mutating func resize(to size: Int64) throws(TemporaryFileError) {
    try channel.resize(to: size)
  }

  /// Does nothing: no byte of a spooled file waits in a buffer.
  ///
  /// - Throws: `closed`.
  public mutating func flush() throws(TemporaryFileError) {
    try channel.flush()
  }

  /// Moves the file to disk now; nothing happens when it is there. Python's `rollover()`.
  ///
  /// - Throws: `rolloverFailed`, with everything as it was; `closed`.
  /// - Complexity: O(bytes in memory).
  public mutating func rollOver() throws(TemporaryFileError) {
    try channel.rollOver()
  }

  /// Moves the file to disk, and gives its descriptor: Python's `fileno()`. It stays the file's, and is closed with it.
  ///
  /// From then on the ``position`` is the descriptor's offset, so that a program that inherits it goes on where this one
  /// stopped, and the other way round. The descriptor is close-on-exec; how a program is started says what it inherits.
  ///
  /// - Throws: `rolloverFailed`, with everything as it was; `unsupported` for a file in a tree or with an encrypted copy on
  ///   disk; `closed`.
  public mutating func fileDescriptor() throws(TemporaryFileError) -> FileDescriptor {
    try channel.fileDescriptor()
  }

  /// A second, independent reader, with a position of its own at the beginning. It sees what is written after it was
  /// made, and keeps the bytes when the file is closed.
  ///
  /// - Throws: `closed`; `unsupported` for a file in a tree, which can be opened there.
  public func reader() throws(TemporaryFileError) -> SpooledFileReader {
    guard let content = channel.bytes.content else {
      throw channel.failure(isClosed ? .badFileDescriptor : .notSupported, "make a reader of")
    }
    return SpooledFileReader(content)
  }

  /// Closes the file, which is gone then. Once more does nothing. Python's `close()`.
  ///
  /// - Throws: for a file in a tree, what removing its name gives. The handle is closed in any case.
  public mutating func close() throws(TemporaryFileError) {
    try channel.close(writing: false)
  }
}
