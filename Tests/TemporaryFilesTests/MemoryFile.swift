import SystemPackage

@testable import TemporaryFiles

/// What a ``MemoryFile`` holds; it outlives the file, so that tests see what is left, and can make it fail.
final class MemoryContent: @unchecked Sendable {
  // Unchecked: one test uses it, on one thread.
  var bytes: [UInt8]
  /// A write that would make the file longer throws; what fits is written if `writesPart`.
  var capacity = Int.max
  var writesPart = false
  var readFails = false
  private(set) var writeCount = 0
  private(set) var flushCount = 0

  init(_ bytes: [UInt8] = []) { self.bytes = bytes }

  fileprivate func write(_ source: UnsafeRawBufferPointer, at position: inout Int) throws(TemporaryFileError) {
    writeCount += 1
    var source = source[...]
    let fits = max(0, capacity - position)
    let isTooLong = source.count > fits
    if isTooLong { source = source.prefix(writesPart ? fits : 0) }
    if !source.isEmpty {
      if bytes.count < position { bytes += [UInt8](repeating: 0, count: position - bytes.count) }
      let end = min(bytes.count, position + source.count)
      bytes.replaceSubrange(position..<end, with: source)
      position += source.count
    }
    if isTooLong { throw TemporaryFileError(errno: .noSpace, operation: "write to") }
  }

  fileprivate func flush() { flushCount += 1 }
}

/// A file of bytes in an array: the plainest `ByteFile`.
struct MemoryFile: ByteFile, ~Copyable {
  let content: MemoryContent
  private var place = 0
  private(set) var isClosed = false

  init(_ content: MemoryContent = MemoryContent(), position: Int = 0) {
    self.content = content
    place = position
  }

  var mayBlock: Bool { false }

  var position: Int64 {
    get throws(TemporaryFileError) {
      try requireOpen()
      return Int64(place)
    }
  }

  var size: Int64 {
    get throws(TemporaryFileError) {
      try requireOpen()
      return Int64(content.bytes.count)
    }
  }

  mutating func read(into buffer: UnsafeMutableRawBufferPointer) throws(TemporaryFileError) -> Int {
    try requireOpen()
    if content.readFails { throw TemporaryFileError(errno: .ioError, operation: "read from") }
    guard place < content.bytes.count else { return 0 }
    let part = content.bytes[place...].prefix(buffer.count)
    buffer.copyBytes(from: part)
    place += part.count
    return part.count
  }

  mutating func write(_ bytes: UnsafeRawBufferPointer) throws(TemporaryFileError) {
    try requireOpen()
    try content.write(bytes, at: &place)
  }

  @discardableResult
  mutating func seek(to offset: Int64, from origin: SeekOrigin) throws(TemporaryFileError) -> Int64 {
    try requireOpen()
    let base =
      switch origin {
      case .start: 0
      case .current: place
      case .end: content.bytes.count
      }
    guard base + Int(offset) >= 0 else { throw TemporaryFileError(errno: .invalidArgument, operation: "seek in") }
    place = base + Int(offset)
    return Int64(place)
  }

  mutating func resize(to size: Int64) throws(TemporaryFileError) {
    try requireOpen()
    let change = Int(size) - content.bytes.count
    if change < 0 { content.bytes.removeLast(-change) } else { content.bytes += [UInt8](repeating: 0, count: change) }
  }

  mutating func flush() throws(TemporaryFileError) {
    try requireOpen()
    content.flush()
  }

  mutating func close() throws(TemporaryFileError) { isClosed = true }

  private func requireOpen() throws(TemporaryFileError) {
    if isClosed { throw TemporaryFileError(.closed, operation: "use") }
  }
}
