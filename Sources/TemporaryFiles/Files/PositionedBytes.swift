internal import CSpoolSystem
internal import Glibc
internal import SpoolStorage
internal import SystemPackage

/// Where the bytes of a file are, and the position in them.
///
/// The position is a number here for bytes in memory, in a tree, or behind a buffer. It is the descriptor's where
/// others may move that too: without a buffer, and once a descriptor has been given away.
struct PositionedBytes: ~Copyable, @unchecked Sendable {
  // @unchecked: the buffer has no lock, but is reachable only through this value, which cannot be copied.

  /// Not to be copied, so that using the bytes counts no references.
  enum Storage: ~Copyable {
    case closed
    /// In `content`.
    case spooled
    case descriptor(OwnedDescriptor)
    case backing(OwnedBacking)
  }

  private(set) var storage: Storage
  /// Not in the enumeration, where one cannot ask whether this is the only reference to it.
  private(set) var content: FileContent?
  private var ownPosition: Int64 = 0
  private var buffer: FileBuffer?
  /// The descriptor whose offset is the position.
  private var shared: CInt?
  private let maximumSize: Int64

  init(_ content: FileContent, maximumSize: Int64?) {
    storage = .spooled
    self.content = content
    self.maximumSize = maximumSize ?? .max
  }

  /// The bytes behind a descriptor, which is closed with this.
  init(descriptor: CInt, buffer: FileBuffer?, maximumSize: Int64?) {
    storage = .descriptor(OwnedDescriptor(number: descriptor))
    self.buffer = buffer
    self.maximumSize = maximumSize ?? .max
    if buffer == nil { shared = descriptor }
  }

  init(_ backing: any FileBacking, maximumSize: Int64?) {
    storage = .backing(OwnedBacking(backing: backing))
    self.maximumSize = maximumSize ?? .max
  }

  var isClosed: Bool {
    switch storage {
    case .closed: true
    default: false
    }
  }

  var position: Int64 {
    get throws(Errno) {
      if isClosed { throw .badFileDescriptor }
      return if let shared { try Descriptor.offset(shared) } else { ownPosition }
    }
  }

  private mutating func move(to position: Int64) throws(Errno) {
    if let shared { try Descriptor.seek(shared, to: position) } else { ownPosition = position }
  }

  var size: Int64 {
    get throws(Errno) {
      switch storage {
      case .closed: throw .badFileDescriptor
      case .spooled: return content!.size
      case .backing(let owned): return owned.backing.size
      case .descriptor(let file):
        let size = Int64(try Descriptor.status(file.number).st_size)
        return if let buffer, buffer.isDirty { max(size, buffer.end) } else { size }
      }
    }
  }

  mutating func read(into target: UnsafeMutableRawBufferPointer) throws(Errno) -> Int {
    let start: Int64
    let count: Int
    switch storage {
    case .spooled:
      start = try position
      count = try FileOwner.read(into: target, at: start, from: &content!)
    case .closed: throw .badFileDescriptor
    case .backing(let owned):
      start = ownPosition
      count = try owned.backing.read(into: target, at: start)
    case .descriptor(let file):
      guard let buffer else { return try Descriptor.read(file.number, into: target) }
      try flush()
      start = ownPosition
      count = try read(into: target, from: file.number, through: buffer)
    }
    try move(to: start + Int64(count))
    return count
  }

  private func read(
    into target: UnsafeMutableRawBufferPointer, from file: CInt, through buffer: FileBuffer
  ) throws(Errno) -> Int {
    var done = 0
    while done < target.count {
      let place = ownPosition + Int64(done)
      let rest = UnsafeMutableRawBufferPointer(rebasing: target[done...])
      var ready = buffer.bytes(from: place)
      if ready.isEmpty {
        if rest.count >= buffer.capacity { return try done + Descriptor.read(file, into: rest, at: place) }
        try buffer.fill(from: place) { (memory) throws(Errno) in try Descriptor.read(file, into: memory, at: place) }
        ready = buffer.bytes(from: place)
        if ready.isEmpty { break }
      }
      let part = UnsafeRawBufferPointer(rebasing: ready[..<min(ready.count, rest.count)])
      rest.copyMemory(from: part)
      done += part.count
    }
    return done
  }

  /// - Throws: EFBIG past the maximum size, and what the storage gives.
  mutating func write(_ bytes: UnsafeRawBufferPointer) throws(Errno) {
    if maximumSize != .max { try checkLimit(position, bytes.count) }
    let start: Int64
    switch storage {
    case .spooled:
      start = try position
      try FileOwner.write(bytes, at: start, to: &content!)
    case .closed: throw .badFileDescriptor
    case .backing(let owned):
      start = ownPosition
      try owned.backing.write(bytes, at: start)
    case .descriptor(let file):
      guard let buffer else { return try Descriptor.write(file.number, bytes) }
      start = ownPosition
      try write(bytes, to: file.number, through: buffer)
    }
    try move(to: start + Int64(bytes.count))
  }

  private func write(_ bytes: UnsafeRawBufferPointer, to file: CInt, through buffer: FileBuffer) throws(Errno) {
    // Nothing pending is nothing that makes the file longer.
    if bytes.isEmpty { return }
    if ownPosition.addingReportingOverflow(Int64(bytes.count)).overflow { throw .fileTooLarge }
    buffer.forget()
    if !buffer.takes(bytes, at: ownPosition) { try flush() }
    if bytes.count >= buffer.capacity {
      try Descriptor.write(file, bytes, at: ownPosition)
    } else {
      buffer.append(bytes, at: ownPosition)
      if buffer.flushesLines, bytes.contains(UInt8(ascii: "\n")) { try writeOut(bytesFrom: ownPosition, in: buffer) }
    }
  }

  /// Writes out what is pending. If that fails, the bytes from `start` on are no longer pending: whoever wrote them is
  /// told, and writes them again.
  private func writeOut(bytesFrom start: Int64, in buffer: FileBuffer) throws(Errno) {
    do throws(Errno) { try flush() } catch {
      buffer.dropPending(from: start)
      throw error
    }
  }

  private func checkLimit(_ start: Int64, _ count: Int) throws(Errno) {
    let (end, overflows) = start.addingReportingOverflow(Int64(count))
    if count > 0, overflows || end > maximumSize { throw .fileTooLarge }
  }

  mutating func seek(to offset: Int64, from origin: SeekOrigin) throws(Errno) -> Int64 {
    let base =
      switch origin {
      case .start: isClosed ? try position : 0
      case .current: try position
      case .end: try size
      }
    let (target, overflows) = base.addingReportingOverflow(offset)
    if overflows || target < 0 { throw .invalidArgument }
    try move(to: target)
    return target
  }

  mutating func resize(to size: Int64) throws(Errno) {
    if isClosed { throw .badFileDescriptor }
    if size < 0 { throw .invalidArgument }
    if size > maximumSize { throw .fileTooLarge }
    try flush()
    switch storage {
    case .closed: throw .badFileDescriptor
    case .spooled: try content!.resize(to: size)
    case .backing(let owned): try owned.backing.resize(to: size)
    case .descriptor(let file): try Descriptor.resize(file.number, to: size)
    }
  }

  /// Writes out what is pending, and forgets what was read ahead.
  func flush() throws(Errno) {
    if isClosed { throw .badFileDescriptor }
    guard let file = descriptor, let buffer else { return }
    // What could be written is not written again when the rest is tried a second time.
    while buffer.isDirty { buffer.didWrite(try Descriptor.writeSome(file, buffer.pending, at: buffer.start)) }
    buffer.forget()
  }

  /// A descriptor of the file, which stays the file's. The position is its offset from now on.
  ///
  /// - Throws: EOPNOTSUPP for a file in a tree, and what moving a spooled file to disk gives.
  mutating func expose() throws(Errno) -> CInt {
    if let shared { return shared }
    try flush()
    let file: CInt
    switch storage {
    case .closed: throw .badFileDescriptor
    case .backing: throw .notSupported
    case .descriptor(let owned): file = owned.number
    case .spooled: file = try content!.exposeDescriptor()
    }
    try Descriptor.seek(file, to: ownPosition)
    buffer = nil
    shared = file
    return file
  }

  /// The descriptor that is closed with this, if there is one. Nothing is written out.
  var descriptor: CInt? {
    switch storage {
    case .descriptor(let owned): owned.number
    default: nil
    }
  }

  var backing: (any FileBacking)? {
    switch storage {
    case .backing(let owned): owned.backing
    default: nil
    }
  }

  /// Closes whatever happens, and throws what went wrong first.
  ///
  /// - Parameter writing: whether what is pending matters. For a file that is gone afterwards it does not.
  mutating func close(writing: Bool, removing: Bool = true) throws(Errno) {
    if isClosed { return }
    var failure: Errno?
    if writing { do throws(Errno) { try flush() } catch { failure = error } }
    var ended = Storage.closed
    swap(&ended, &storage)
    content = nil
    shared = nil
    buffer = nil
    do throws(Errno) {
      switch consume ended {
      case .descriptor(let file): try file.close()
      case .backing(let owned): try owned.backing.close(removing: removing)
      default: break
      }
    } catch {
      failure = failure ?? error
    }
    if let failure { throw failure }
  }
}

/// A descriptor that is closed when it is dropped; quietly: what the owner wants to hear of failures, it closes first.
struct OwnedDescriptor: ~Copyable {
  let number: CInt

  deinit { try? Descriptor.close(number) }

  consuming func close() throws(Errno) {
    let number = number
    discard self
    try Descriptor.close(number)
  }
}

/// A file that lives elsewhere, and is gone from there when this is dropped, unless it has been closed.
struct OwnedBacking: ~Copyable {
  let backing: any FileBacking

  deinit { try? backing.close(removing: true) }
}
