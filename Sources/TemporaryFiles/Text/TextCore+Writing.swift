extension TextCore where File: ~Copyable {
  /// Takes text to be written, which is UTF-8: all of it, or none if it has no bytes in the encoding.
  mutating func write(_ text: UnsafeBufferPointer<UInt8>) throws(TemporaryFileError) {
    try requireOpen("write to")
    try leaveReading()
    try learnOrder()

    let before = pending.count
    if encoding.hasMark, pending.isEmpty, try file.position == 0 { pending = encoder.mark }
    let hasLineFeed = text.contains(0x0a)
    if let failure = try encode(text, hasLineFeed: hasLineFeed) {
      pending.removeSubrange(before...)
      throw encodingError(failure)
    }
    newlines = []
    if lineBuffering, hasLineFeed || text.contains(0x0d) {
      try flush()
    } else if writeThrough || pending.count >= chunkSize {
      try drain()
    }
  }

  private mutating func encode(
    _ text: UnsafeBufferPointer<UInt8>, hasLineFeed: Bool
  ) throws(TemporaryFileError) -> TextEncoder.Fault? {
    guard hasLineFeed, let lineEnd = newline.written else { return try encoder.encode(text, into: &pending) }
    var translated: [UInt8] = []
    translated.reserveCapacity(text.count + text.count / 16)
    for byte in text {
      if byte == 0x0a { translated += lineEnd } else { translated.append(byte) }
    }
    return try translated.withUnsafeBufferPointer { bytes throws(TemporaryFileError) in
      try encoder.encode(bytes, into: &pending)
    }
  }

  private func encodingError(_ fault: TextEncoder.Fault) -> TemporaryFileError {
    let digits = String(fault.scalar, radix: 16, uppercase: true)
    let name = "U+" + String(repeating: "0", count: max(0, 4 - digits.count)) + digits
    return TemporaryFileError(
      .encodingFailed, operation: "write text to",
      message: "\(name), scalar \(fault.index) of the text, has no bytes in \(encoding.name)")
  }

  /// Writes what is pending to the file.
  ///
  /// If that fails, what the file did not take is pending still.
  @inline(__always)
  mutating func drain() throws(TemporaryFileError) {
    if pending.isEmpty { return }
    do throws(TemporaryFileError) { try writePending() } catch {
      var error = error
      error.message += "; \(pending.count) bytes of text are kept, and flushing tries to write them again"
      throw error
    }
  }

  private mutating func writePending() throws(TemporaryFileError) {
    guard !pending.isEmpty else { return }
    let start = try file.position
    var bytes: [UInt8] = []
    swap(&bytes, &pending)
    do throws(TemporaryFileError) {
      try file.write(bytes.span.bytes)
    } catch {
      // What was written must not be written again.
      let written = max(0, ((try? file.position) ?? start) - start)
      bytes.removeFirst(min(bytes.count, Int(written)))
      pending = bytes
      throw error
    }
    bytes.removeAll(keepingCapacity: bytes.capacity <= 8 * chunkSize)
    pending = bytes
  }

  mutating func flush() throws(TemporaryFileError) {
    try requireOpen("flush")
    try drain()
    try file.flush()
  }

  /// Closes the file even if the text cannot be written to it. The first error is thrown.
  mutating func close() throws(TemporaryFileError) {
    guard !file.isClosed else { return }
    var failure: TemporaryFileError?
    do throws(TemporaryFileError) {
      try writePending()
      try file.flush()
    } catch {
      failure = error
    }
    do throws(TemporaryFileError) { try file.close() } catch { failure = failure ?? error }
    pending = []
    chunk.reset()
    resume = nil
    if let failure { throw failure }
  }
}
