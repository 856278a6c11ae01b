extension ByteFile where Self: ~Copyable {
  /// Writes all of `bytes` at the position: Python's `write()`.
  ///
  /// - Throws: as ``write(_:)-(UnsafeRawBufferPointer)``.
  @inlinable
  public mutating func write(_ bytes: [UInt8]) throws(TemporaryFileError) {
    try write(bytes.span.bytes)
  }

  /// Writes all bytes of a span at the position.
  @inlinable
  public mutating func write(_ span: RawSpan) throws(TemporaryFileError) {
    try span.withUnsafeBytes { (buffer) throws(TemporaryFileError) in try write(buffer) }
  }

  /// Writes a sequence of bytes at the position, such as the UTF-8 of a string.
  public mutating func write(contentsOf bytes: some Sequence<UInt8>) throws(TemporaryFileError) {
    var failure: TemporaryFileError?
    let isContiguous: Void? = bytes.withContiguousStorageIfAvailable { buffer in
      do throws(TemporaryFileError) { try write(UnsafeRawBufferPointer(buffer)) } catch { failure = error }
    }
    if let failure { throw failure }
    if isContiguous == nil { try write(ContiguousArray(bytes).span.bytes) }
  }

  /// Writes one line after the other; newlines are not added. Python's `writelines()`.
  ///
  /// - Throws: as `write`; the lines before the one that failed are written.
  public mutating func writeLines<Lines: Sequence>(_ lines: Lines) throws(TemporaryFileError)
  where Lines.Element: Sequence<UInt8> {
    _ = try position  // a closed file is an error, also without lines
    for line in lines { try write(contentsOf: line) }
  }

  /// Cuts the file, or makes it longer, to where the position is: Python's `truncate()` without an argument.
  public mutating func resize() throws(TemporaryFileError) {
    try resize(to: position)
  }

  /// Whether bytes can be written: Python's `writable()`. False when closed.
  public var isWritable: Bool { !isClosed }
}
