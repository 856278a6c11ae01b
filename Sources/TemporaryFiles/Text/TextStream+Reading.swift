extension TextStream where File: ~Copyable {
  /// The next `count` Unicode scalars, fewer only at the end of the file: Python's `read(size)`, which counts like that.
  ///
  /// - Throws: `decodingFailed`, `closed`, `invalidArgument` for a negative count; what writing the pending text and
  ///   reading the file throw. The position is where it was then.
  /// - Complexity: O(`count`).
  public mutating func read(count: Int) throws(TemporaryFileError) -> String {
    try core.pointee.read(count: count)
  }

  /// Everything from the position to the end: Python's `read()`.
  ///
  /// - Throws: as ``read(count:)``.
  /// - Complexity: O(length of the text), in memory as well.
  public mutating func readToEnd() throws(TemporaryFileError) -> String {
    try core.pointee.readToEnd()
  }

  /// The next line with its line end, or what is left; nil at the end of the file. Python's `readline()`.
  ///
  /// - Parameter maximumCount: Unicode scalars after which the line is cut off; the rest comes next. With 0, the line is
  ///   empty.
  /// - Throws: as ``read(count:)``.
  /// - Complexity: O(length of the line).
  public mutating func readLine(maximumCount: Int = .max) throws(TemporaryFileError) -> String? {
    try core.pointee.readLine(maximumCount: maximumCount)
  }

  /// The remaining lines with their line ends: Python's `readlines(hint)`.
  ///
  /// - Parameter sizeHint: no further line is read when there are more Unicode scalars than that. 0 is no limit.
  /// - Throws: as ``read(count:)``; the position is behind the last whole line then.
  public mutating func readLines(sizeHint: Int = 0) throws(TemporaryFileError) -> [String] {
    var lines: [String] = []
    var count = 0
    while let line = try readLine() {
      lines.append(line)
      guard sizeHint > 0 else { continue }
      count += line.unicodeScalars.count
      if count > sizeHint { break }
    }
    return lines
  }

  /// Calls `body` with each remaining line, line end included: what a `for` over a Python file does. The stream cannot be
  /// used in `body`; for that, call ``readLine(maximumCount:)`` in a loop.
  ///
  /// - Throws: as ``read(count:)``, and what `body` throws. The position is then behind the line.
  public mutating func forEachLine(_ body: (String) throws -> Void) throws {
    while let line = try readLine() { try body(line) }
  }
}
