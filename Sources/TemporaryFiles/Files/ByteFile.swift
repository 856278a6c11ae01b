/// Bytes that can be read, with a position: what all temporary files and their readers have in common.
public protocol ReadableByteFile: ~Copyable, Sendable {
  /// Whether the file has been closed: Python's `closed`. All operations but ``close()`` then throw `closed`.
  var isClosed: Bool { get }

  /// Bytes from the beginning of the file to where the next read or write begins: Python's `tell()`.
  var position: Int64 { get throws(TemporaryFileError) }

  /// The size in bytes, with what is still in a buffer. The corresponding field is `st_size`.
  var size: Int64 { get throws(TemporaryFileError) }

  /// Whether reading or writing may wait for a disk. The async variants of operations leave the thread for those that may.
  var mayBlock: Bool { get }

  /// Fills `buffer` from ``position`` on, and moves it. Holes read as zeros. Python's `readinto()`.
  ///
  /// - Returns: the number of bytes read, less than asked for only at the end of the file.
  /// - Throws: `closed`; `failed` for what the disk answers.
  mutating func read(into buffer: UnsafeMutableRawBufferPointer) throws(TemporaryFileError) -> Int

  /// Moves ``position`` and returns it. It may lie past the end. Python's `seek()`.
  ///
  /// - Throws: `invalidArgument` for a position below 0; it stays where it was then.
  @discardableResult
  mutating func seek(to offset: Int64, from origin: SeekOrigin) throws(TemporaryFileError) -> Int64

  /// Ends the use of the file: a temporary one is gone afterwards. Closing a second time does nothing. Python's `close()`.
  ///
  /// - Throws: what writing out a buffer, closing and removing give. The handle is closed in any case.
  mutating func close() throws(TemporaryFileError)
}

/// A file of bytes with a position, to read and write: in memory or on disk, with a name or without.
///
/// Reading and writing go on from ``ReadableByteFile/position`` and move it. What Python's `io.BufferedRandom` has is here
/// or in the extensions of the two protocols, under Swift's names; ``TextStream`` puts text on top of any file.
///
/// A file is owned by one place of a program at a time: it cannot be copied, and operations need exclusive access.
public protocol ByteFile: ReadableByteFile, ~Copyable {
  /// Writes all of `bytes` at ``position``, and moves it. Past the end of the file, what lies between becomes a hole.
  /// Python's `write()`.
  ///
  /// - Throws: `closed`, `noSpace`, `sizeLimitExceeded`, `rolloverFailed`, `failed`.
  mutating func write(_ bytes: UnsafeRawBufferPointer) throws(TemporaryFileError)

  /// Cuts the file, or makes it longer by a hole. ``position`` stays. Python's `truncate()`.
  ///
  /// - Throws: as ``write(_:)``; `invalidArgument` for a negative size.
  mutating func resize(to size: Int64) throws(TemporaryFileError)

  /// Hands what is in a buffer to the system, so that others who open the file see it: Python's `flush()`.
  mutating func flush() throws(TemporaryFileError)
}

/// What the offset of a seek is counted from.
public enum SeekOrigin: Sendable {
  /// The beginning of the file (`SEEK_SET`).
  case start
  /// The position (`SEEK_CUR`).
  case current
  /// The end of the file (`SEEK_END`).
  case end
}
