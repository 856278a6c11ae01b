internal import SystemPackage

extension ReadableByteFile where Self: ~Copyable {
  /// Moves the position to an offset from the beginning, and returns it.
  ///
  /// - Throws: as ``seek(to:from:)``.
  @discardableResult @inlinable
  public mutating func seek(to offset: Int64) throws(TemporaryFileError) -> Int64 {
    try seek(to: offset, from: .start)
  }

  /// Fills `span`; returns the number of bytes read, less than its count only at the end of the file.
  @inlinable
  public mutating func read(into span: inout MutableRawSpan) throws(TemporaryFileError) -> Int {
    try span.withUnsafeMutableBytes { (buffer) throws(TemporaryFileError) in try read(into: buffer) }
  }

  /// The next bytes, at most `count`: Python's `read(size)`. Empty at the end of the file.
  ///
  /// - Throws: as ``read(into:)``; `invalidArgument` for a negative count.
  public mutating func read(count: Int) throws(TemporaryFileError) -> [UInt8] {
    // What is asked for may be more than there is, and more than memory has.
    let available = try max(0, size - position)
    guard count >= 0 else { throw Self.negative }
    return try readArray(Int(min(Int64(count), available)))
  }

  /// Everything from the position to the end: Python's `read()`.
  ///
  /// - Throws: as ``read(into:)``.
  /// - Complexity: O(bytes), in memory as well.
  public mutating func readToEnd() throws(TemporaryFileError) -> [UInt8] {
    try read(count: .max)
  }

  private static var negative: TemporaryFileError {
    TemporaryFileError(
      .invalidArgument, operation: "read from", errno: .invalidArgument, message: "the count of bytes is negative")
  }

  private mutating func readArray(_ count: Int) throws(TemporaryFileError) -> [UInt8] {
    // The array that all empty ones share would be written to, at the same time by several threads.
    if count == 0 { return [] }
    var failure: TemporaryFileError?
    let bytes = [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
      do throws(TemporaryFileError) {
        initialized = try read(into: UnsafeMutableRawBufferPointer(buffer))
      } catch {
        failure = error
      }
    }
    if let failure { throw failure }
    return bytes
  }

  /// The next line with its newline (byte 10), or what is left; nil at the end of the file. Python's `readline()`.
  ///
  /// - Parameter maximumCount: bytes after which the line is cut off; the rest comes next. 0 gives nil.
  /// - Throws: as ``read(into:)``; `invalidArgument` for a negative count.
  /// - Complexity: O(bytes of the line).
  public mutating func readLine(maximumCount: Int = .max) throws(TemporaryFileError) -> [UInt8]? {
    if maximumCount <= 0 {
      _ = try position  // a closed file is an error, whatever is asked for
      if maximumCount < 0 { throw Self.negative }
    }
    var line: [UInt8] = []
    var step = 256
    while line.count < maximumCount {
      let part = try read(count: min(step, maximumCount - line.count))
      if part.isEmpty { break }
      if let newline = part.firstIndex(of: UInt8(ascii: "\n")) {
        line += part[...newline]
        try seek(to: Int64(newline + 1 - part.count), from: .current)
        return line
      }
      line += part
      step = min(2 * step, 64 << 10)
    }
    return line.isEmpty ? nil : line
  }

  /// The remaining lines with their newlines: Python's `readlines(hint)`.
  ///
  /// - Parameter sizeHint: bytes after which no further line is begun; as in Python, 0 or less is no limit.
  /// - Throws: as ``read(into:)``.
  public mutating func readLines(sizeHint: Int = .max) throws(TemporaryFileError) -> [[UInt8]] {
    var lines: [[UInt8]] = []
    var count = 0
    while count < sizeHint || sizeHint <= 0, let line = try readLine() {
      lines.append(line)
      count += line.count
    }
    return lines
  }

  /// Calls `body` with each remaining line, newline included: what a `for` over a Python file does. The file cannot be
  /// used in `body`; for that, call ``readLine(maximumCount:)`` in a loop.
  ///
  /// - Throws: as ``read(into:)``, and what `body` throws. The position is then behind the line.
  public mutating func forEachLine(_ body: ([UInt8]) throws -> Void) throws {
    while let line = try readLine() { try body(line) }
  }

  /// Whether bytes can be read: Python's `readable()`. False when closed.
  public var isReadable: Bool { !isClosed }

  /// Whether the position can be moved: Python's `seekable()`. False when closed.
  public var isSeekable: Bool { !isClosed }

  /// Whether the file is a terminal: Python's `isatty()`. No temporary file is.
  public var isTerminal: Bool { false }
}
