internal import SpoolStorage

// The operations of files for tasks. What may wait for a disk runs on a thread that no task needs; what is in memory runs
// at once. None is given up when the task is cancelled: the file would be in a state that nobody knows.

extension ReadableByteFile where Self: ~Copyable {
  /// The next bytes, at most `count`, without holding up the threads that tasks share.
  ///
  /// - Throws: as the variant without `async`.
  nonisolated(nonsending) public mutating func read(count: Int) async throws(TemporaryFileError) -> [UInt8] {
    if !mayBlock { return try readNow(count) }
    return try await offPool(lending: &self) { (file) throws(TemporaryFileError) in try file.readNow(count) }
  }

  /// Everything from the position to the end, without holding up the threads that tasks share.
  ///
  /// - Throws: as the variant without `async`.
  nonisolated(nonsending) public mutating func readToEnd() async throws(TemporaryFileError) -> [UInt8] {
    try await read(count: .max)
  }

  /// The next line with its newline, or what is left; nil at the end, without holding up the threads that tasks share.
  ///
  /// - Throws: as the variant without `async`.
  nonisolated(nonsending) public mutating func readLine(
    maximumCount: Int = .max
  ) async throws(TemporaryFileError) -> [UInt8]? {
    if !mayBlock { return try readLineNow(maximumCount) }
    return try await offPool(lending: &self) { (file) throws(TemporaryFileError) in
      try file.readLineNow(maximumCount)
    }
  }

  /// Ends the use of the file, without holding up the threads that tasks share.
  ///
  /// - Throws: as the variant without `async`.
  nonisolated(nonsending) public mutating func close() async throws(TemporaryFileError) {
    if !mayBlock { return try closeNow() }
    try await offPool(lending: &self) { (file) throws(TemporaryFileError) in try file.closeNow() }
  }

  // Names that only have a variant without `async`.
  private mutating func readNow(_ count: Int) throws(TemporaryFileError) -> [UInt8] { try read(count: count) }
  private mutating func readLineNow(_ count: Int) throws(TemporaryFileError) -> [UInt8]? {
    try readLine(maximumCount: count)
  }
  private mutating func closeNow() throws(TemporaryFileError) { try close() }
}

extension ByteFile where Self: ~Copyable {
  /// Writes all of `bytes` at the position, without holding up the threads that tasks share.
  ///
  /// - Throws: as the variant without `async`.
  nonisolated(nonsending) public mutating func write(_ bytes: [UInt8]) async throws(TemporaryFileError) {
    try await offPool(lending: &self) { (file) throws(TemporaryFileError) in try file.writeNow(bytes) }
  }

  /// Writes a sequence of bytes at the position, without holding up the threads that tasks share.
  ///
  /// - Throws: as the variant without `async`.
  nonisolated(nonsending) public mutating func write(
    contentsOf bytes: some Sequence<UInt8>
  ) async throws(TemporaryFileError) {
    try await write(Array(bytes))
  }

  /// Cuts the file, or makes it longer by a hole, without holding up the threads that tasks share.
  ///
  /// - Throws: as the variant without `async`.
  nonisolated(nonsending) public mutating func resize(to size: Int64) async throws(TemporaryFileError) {
    try await offPool(lending: &self) { (file) throws(TemporaryFileError) in try file.resizeNow(size) }
  }

  /// Hands what is in a buffer to the system, without holding up the threads that tasks share.
  ///
  /// - Throws: as the variant without `async`.
  nonisolated(nonsending) public mutating func flush() async throws(TemporaryFileError) {
    if !mayBlock { return try flushNow() }
    try await offPool(lending: &self) { (file) throws(TemporaryFileError) in try file.flushNow() }
  }

  private mutating func writeNow(_ bytes: [UInt8]) throws(TemporaryFileError) { try write(bytes) }
  private mutating func resizeNow(_ size: Int64) throws(TemporaryFileError) { try resize(to: size) }
  private mutating func flushNow() throws(TemporaryFileError) { try flush() }
}

extension SpooledTemporaryFile {
  /// Writes all of `bytes` at the position: at once if they stay in memory, else without holding up the threads that tasks
  /// share.
  ///
  /// - Throws: as the variant without `async`.
  nonisolated(nonsending) public mutating func write(_ bytes: [UInt8]) async throws(TemporaryFileError) {
    if staysInMemory(writing: bytes.count) { return try writeNow(bytes) }
    try await offPool(lending: &self) { (file) throws(TemporaryFileError) in try file.writeNow(bytes) }
  }

  private mutating func writeNow(_ bytes: [UInt8]) throws(TemporaryFileError) { try write(bytes) }

  private func staysInMemory(writing count: Int) -> Bool {
    guard let content = channel.bytes.content, !content.isRolledOver, let position = try? position else { return false }
    return content.staysInMemory(writing: count, at: position)
  }

  /// Moves the file to disk now, without holding up the threads that tasks share.
  ///
  /// - Throws: as the variant without `async`.
  nonisolated(nonsending) public mutating func rollOver() async throws(TemporaryFileError) {
    try await offPool(lending: &self) { (file) throws(TemporaryFileError) in try file.rollOver() }
  }
}

extension NamedTemporaryFile {
  /// Removes the name now, without holding up the threads that tasks share.
  ///
  /// - Throws: as the variant without `async`.
  nonisolated(nonsending) public mutating func remove() async throws(TemporaryFileError) {
    try await offPool(lending: &self) { (file) throws(TemporaryFileError) in try file.remove() }
  }
}
