/// Text in a file of bytes: encoded, with line ends translated, and buffered. Python's `io.TextIOWrapper`.
///
/// ```swift
/// var text = TextStream(try SpooledTemporaryFile(threshold: 1 << 20), newline: .untranslated)
/// try text.write("first\nsecond\n")
/// try text.seekToStart()
/// while let line = try text.readLine() { print(line, terminator: "") }
/// ```
///
/// It works over every ``ByteFile``, and does what the file does: over a spooled file, text, position and settings stay
/// as they are when the file moves to disk.
///
/// What differs from Python, where Python's answers depend on how much it happened to read ahead:
/// - Writing and resizing after part of the file was read take place at ``position``.
/// - Undecodable bytes are an error when reading comes to them, not before; a read that throws leaves the position where
///   it was.
/// - Text that could not be written is kept, and tried again by ``flush()`` and everything that flushes.
/// - A byte order mark is only written at the beginning of the file, and text added to a file has the order of its mark.
///   UTF-16 and UTF-32 without a mark are read in this machine's order.
/// - An encoding with shift states goes back to its initial state after each write, so that the file is whole.
/// - Telling the position is always possible, and positions are opaque.
///
/// Like the file, a stream has one owner. When it is dropped without ``close()``, what is pending is written as far as
/// possible, and errors are not told.
public struct TextStream<File: ByteFile & ~Copyable>: ~Copyable, @unchecked Sendable {
  // Unchecked: the memory is this stream's alone, and `File` is Sendable. It is not stored in line as `deinit` has to
  // change it, and `detach()` to take it apart.
  let core: UnsafeMutablePointer<TextCore<File>>
  private var isDetached = false

  /// Puts text on top of a file, beginning where the file's position is: Python's `TextIOWrapper(buffer, …)`.
  ///
  /// - Parameters:
  ///   - encoding: how text is stored. Python's default is that of the locale; here it is UTF-8.
  ///   - newline: what ends a line, and whether line ends are translated.
  ///   - errors: what becomes of undecodable bytes, and of text without bytes.
  ///   - lineBuffering: whether text with a line end in it is flushed at once. Otherwise some kilobytes are collected.
  ///   - writeThrough: whether all text is handed to the file at once.
  public init(
    _ file: consuming File, encoding: TextEncoding = .utf8, newline: NewlineMode = .universal,
    errors: TextErrorMode = .strict, lineBuffering: Bool = false, writeThrough: Bool = false
  ) {
    self.init(
      file, encoding: encoding, newline: newline, errors: errors, lineBuffering: lineBuffering,
      writeThrough: writeThrough, chunkSize: 16 << 10)
  }

  /// - Parameter chunkSize: bytes that are read, or collected, at a time.
  init(
    _ file: consuming File, encoding: TextEncoding = .utf8, newline: NewlineMode = .universal,
    errors: TextErrorMode = .strict, lineBuffering: Bool = false, writeThrough: Bool = false, chunkSize: Int
  ) {
    core = .allocate(capacity: 1)
    core.initialize(
      to: TextCore(
        file, encoding: encoding, newline: newline, errors: errors, lineBuffering: lineBuffering,
        writeThrough: writeThrough, chunkSize: chunkSize))
  }

  deinit {
    if !isDetached {
      if !core.pointee.file.isClosed { try? core.pointee.flush() }
      core.deinitialize(count: 1)
    }
    core.deallocate()
  }

  /// Flushes, and gives the file back without closing it: Python's `detach()`. Its position is the text's.
  ///
  /// - Throws: as ``flush()``. The stream and its file are gone then, so flush before, if what is pending matters.
  public consuming func detach() throws(TemporaryFileError) -> File {
    try core.pointee.flush()
    try core.pointee.leaveReading()
    isDetached = true
    return core.move().intoFile()
  }

  /// Flushes, and lets `body` use the file: to roll it over, to keep it, to see its bytes.
  ///
  /// Its position is the text's; if `body` moves it, text goes on from there.
  ///
  /// - Throws: as ``flush()``, and what `body` throws.
  public mutating func withFile<Result: ~Copyable>(
    _ body: (inout File) throws(TemporaryFileError) -> Result
  ) throws(TemporaryFileError) -> Result {
    try core.pointee.withFile(body)
  }

  /// Writes what is pending to the file, and flushes that: Python's `flush()`.
  ///
  /// - Throws: `closed`, and as the file's `write` and `flush`. What the file did not take stays pending.
  public mutating func flush() throws(TemporaryFileError) {
    try core.pointee.flush()
  }

  /// Flushes, and closes the file: Python's `close()`. Closing a second time does nothing.
  ///
  /// - Throws: what flushing and closing give. The file is closed in any case.
  public mutating func close() throws(TemporaryFileError) {
    try core.pointee.close()
  }

  /// Gives up what is pending, so that a file that takes no more can be used again.
  ///
  /// - Returns: the number of bytes that are lost.
  @discardableResult
  public mutating func discardPending() -> Int {
    defer { core.pointee.pending = [] }
    return core.pointee.pending.count
  }
}

// MARK: - Properties

extension TextStream where File: ~Copyable {
  /// How text is stored: Python's `encoding`.
  public var encoding: TextEncoding { core.pointee.encoding }

  /// What becomes of undecodable bytes and of text without bytes: Python's `errors`.
  public var errors: TextErrorMode { core.pointee.decoder.errors }

  /// What ends a line: Python's `newline` argument.
  public var newline: NewlineMode { core.pointee.newline }

  /// Which kinds of line ends have been read since the last write, or since the position was moved to the beginning or
  /// the end: Python's `newlines`. Text that was decoded ahead counts. Always empty for the modes that know one kind.
  public var newlines: NewlineKinds { core.pointee.newlines }

  /// Whether text with a line end in it is flushed at once: Python's `line_buffering`.
  public var lineBuffering: Bool {
    get { core.pointee.lineBuffering }
    set { core.pointee.lineBuffering = newValue }
  }

  /// Whether all text is handed to the file at once: Python's `write_through`.
  public var writeThrough: Bool {
    get { core.pointee.writeThrough }
    set { core.pointee.writeThrough = newValue }
  }

  /// Bytes of text that are not written to the file yet.
  public var pendingCount: Int { core.pointee.pending.count }

  /// Whether the file is closed: Python's `closed`. All operations but ``close()`` then throw `closed`.
  public var isClosed: Bool { core.pointee.file.isClosed }

  /// What can be done with the file, as `open(…)` has it: reading and writing text. Python's `mode`.
  public var mode: String { "w+" }
}
