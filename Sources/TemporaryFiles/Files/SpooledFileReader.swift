internal import SpoolStorage
internal import SystemPackage

/// An independent reader of a ``SpooledTemporaryFile``, with a position of its own. Each may be on a thread of its own.
///
/// It reads what the file holds at the moment of reading, and keeps the bytes when the file itself is closed.
public struct SpooledFileReader: ReadableByteFile, ~Copyable {
  private var content: FileContent?
  private var offset: Int64 = 0

  init(_ content: FileContent) { self.content = content }

  /// Whether the file has been closed: Python's `closed`.
  public var isClosed: Bool { content == nil }

  /// Bytes from the beginning to where the next read or write begins: Python's `tell()`.
  ///
  /// - Throws: `closed`.
  public var position: Int64 {
    get throws(TemporaryFileError) {
      _ = try opened("tell the position in")
      return offset
    }
  }

  /// The size in bytes, with what is still in a buffer.
  ///
  /// - Throws: `closed`.
  public var size: Int64 {
    get throws(TemporaryFileError) { try opened("tell the size of").size }
  }

  /// Once the file is on disk.
  public var mayBlock: Bool { content?.isRolledOver ?? false }

  /// Fills `buffer` from ``position`` on, and moves that. Python's `readinto()`.
  ///
  /// - Returns: the number of bytes read, less than asked for only at the end of the file.
  /// - Throws: `closed`; `failed` for what the disk answers.
  public mutating func read(into buffer: UnsafeMutableRawBufferPointer) throws(TemporaryFileError) -> Int {
    let content = try opened("read from")
    let count = try wrap("read from") { () throws(Errno) in try content.read(into: buffer, at: offset) }
    offset += Int64(count)
    return count
  }

  /// Moves ``position`` and returns it. It may lie past the end. Python's `seek()`.
  ///
  /// - Throws: `closed`; `invalidArgument` for a position below 0.
  @discardableResult
  public mutating func seek(to offset: Int64, from origin: SeekOrigin) throws(TemporaryFileError) -> Int64 {
    let content = try opened("seek in")
    let base: Int64 =
      switch origin {
      case .start: 0
      case .current: self.offset
      case .end: content.size
      }
    let (target, overflows) = base.addingReportingOverflow(offset)
    if overflows || target < 0 { throw TemporaryFileError(errno: .invalidArgument, operation: "seek in") }
    self.offset = target
    return target
  }

  /// Ends the use of the bytes. Once more does nothing.
  public mutating func close() throws(TemporaryFileError) { content = nil }

  private func opened(_ operation: String) throws(TemporaryFileError) -> FileContent {
    if let content { return content }
    throw TemporaryFileError(errno: .badFileDescriptor, operation: operation)
  }
}
