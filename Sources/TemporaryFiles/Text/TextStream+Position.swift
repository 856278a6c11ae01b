extension TextStream where File: ~Copyable {
  /// Where the text is, to go back to with ``seek(to:)``: Python's `tell()`. What is pending is written first.
  ///
  /// - Throws: `closed`, and what writing the pending text throws.
  /// - Complexity: O(what was decoded since the last time), at most some kilobytes. O(1) for UTF-8.
  public var position: TextPosition {
    mutating get throws(TemporaryFileError) { try core.pointee.position() }
  }

  /// Goes to a place that ``position`` told: Python's `seek(cookie)`. What is pending is written first.
  ///
  /// - Throws: `closed`, and what writing the pending text throws.
  /// - Complexity: O(1). For encodings with a state, the next read decodes the text from where it began to be read.
  public mutating func seek(to position: TextPosition) throws(TemporaryFileError) {
    try core.pointee.seek(to: position)
  }

  /// Goes to the beginning of the file: Python's `seek(0)`.
  ///
  /// - Throws: as ``seek(to:)``.
  public mutating func seekToStart() throws(TemporaryFileError) {
    try core.pointee.seek(to: TextPosition(offset: 0))
  }

  /// Goes to the end of the file: Python's `seek(0, 2)`.
  ///
  /// - Throws: as ``seek(to:)``.
  public mutating func seekToEnd() throws(TemporaryFileError) {
    try core.pointee.seekToEnd()
  }

  /// Cuts the file at a place that ``position`` told, or at the position: Python's `truncate()`. The position stays.
  ///
  /// - Throws: `closed`, what writing the pending text throws, and as the file's `resize(to:)`.
  public mutating func resize(to position: TextPosition? = nil) throws(TemporaryFileError) {
    try core.pointee.resize(to: position)
  }
}
