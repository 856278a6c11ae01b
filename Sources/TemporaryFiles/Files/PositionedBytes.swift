internal import CSpoolSystem
internal import Glibc
internal import SpoolStorage
internal import SystemPackage

/// Where the bytes of a file are, and the position in them.
///
/// The position is a number here for bytes in memory, in a tree, or behind a buffer. It is the descriptor's where
/// others may move that too: without a buffer, and once a descriptor has been given away.
struct PositionedBytes: ~Copyable, @unchecked Sendable {
  // @unchecked: `particulars` have no lock, but are reachable only through this value, which cannot be copied.

  /// The bytes of a spooled file; nil for every other one, and once it is closed.
  private(set) var content: FileContent?
  private var ownPosition: Int64 = 0
  /// nil for a spooled file that has none.
  private(set) var particulars: Particulars?

  init(_ content: FileContent, maximumSize: Int64?) {
    self.content = content
    if let maximumSize { particulars = Particulars(maximumSize: maximumSize) }
  }

  init(_ particulars: Particulars) { self.particulars = particulars }

  var isClosed: Bool { content == nil && particulars?.isNowhere ?? true }

  /// What errors name; nil for a file without a name.
  var path: FilePath? { particulars?.path }

  /// The descriptor that is closed with this, if there is one. Nothing is written out.
  var descriptor: CInt? { particulars?.descriptor }

  var backing: (any FileBacking)? { particulars?.backing }

  var position: Int64 {
    get throws(Errno) {
      if isClosed { throw .badFileDescriptor }
      return try openPosition
    }
  }

  /// Precondition: it is not closed.
  @inline(__always)
  private var openPosition: Int64 {
    get throws(Errno) {
      if let shared = particulars?.shared { try Descriptor.offset(shared) } else { ownPosition }
    }
  }

  @inline(__always)
  private mutating func move(to position: Int64) throws(Errno) {
    if let shared = particulars?.shared { try Descriptor.seek(shared, to: position) } else { ownPosition = position }
  }

  var size: Int64 {
    get throws(Errno) {
      if let content { return content.size }
      guard let particulars else { throw .badFileDescriptor }
      switch particulars.place {
      case .nowhere: throw .badFileDescriptor
      case .backing(let owned): return owned.backing.size
      case .descriptor(let file):
        let size = Int64(try Descriptor.status(file.number).st_size)
        return if let buffer = particulars.buffer, buffer.isDirty { max(size, buffer.end) } else { size }
      }
    }
  }

  @inline(__always)
  mutating func read(into target: UnsafeMutableRawBufferPointer) throws(Errno) -> Int {
    guard content != nil, particulars == nil else { return try readWithParticulars(into: target) }
    let count = try FileOwner.read(into: target, at: ownPosition, from: &content!)
    ownPosition += Int64(count)
    return count
  }

  @inline(never)
  private mutating func readWithParticulars(into target: UnsafeMutableRawBufferPointer) throws(Errno) -> Int {
    guard let particulars else { throw .badFileDescriptor }
    let count: Int
    if content != nil {
      let start = try openPosition
      count = try FileOwner.read(into: target, at: start, from: &content!)
      try move(to: start + Int64(count))
      return count
    }
    switch particulars.place {
    case .nowhere: throw .badFileDescriptor
    case .backing(let owned): count = try owned.backing.read(into: target, at: ownPosition)
    case .descriptor(let file):
      guard let buffer = particulars.buffer else { return try Descriptor.read(file.number, into: target) }
      try particulars.flush()
      count = try read(into: target, from: file.number, through: buffer)
    }
    ownPosition += Int64(count)
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
  @inline(__always)
  mutating func write(_ bytes: UnsafeRawBufferPointer) throws(Errno) {
    guard content != nil, particulars == nil else { return try writeWithParticulars(bytes) }
    try FileOwner.write(bytes, at: ownPosition, to: &content!)
    ownPosition += Int64(bytes.count)
  }

  @inline(never)
  private mutating func writeWithParticulars(_ bytes: UnsafeRawBufferPointer) throws(Errno) {
    guard let particulars else { throw .badFileDescriptor }
    if particulars.maximumSize != .max { try checkLimit(particulars.maximumSize, bytes.count) }
    if content != nil {
      let start = try openPosition
      try FileOwner.write(bytes, at: start, to: &content!)
      return try move(to: start + Int64(bytes.count))
    }
    switch particulars.place {
    case .nowhere: throw .badFileDescriptor
    case .backing(let owned): try owned.backing.write(bytes, at: ownPosition)
    case .descriptor(let file):
      guard let buffer = particulars.buffer else { return try Descriptor.write(file.number, bytes) }
      try write(bytes, to: file.number, through: buffer)
    }
    ownPosition += Int64(bytes.count)
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

  private func checkLimit(_ limit: Int64, _ count: Int) throws(Errno) {
    let (end, overflows) = try position.addingReportingOverflow(Int64(count))
    if count > 0, overflows || end > limit { throw .fileTooLarge }
  }

  @inline(__always)
  mutating func seek(to offset: Int64, from origin: SeekOrigin) throws(Errno) -> Int64 {
    if isClosed { throw .badFileDescriptor }
    let base =
      switch origin {
      case .start: Int64(0)
      case .current: try openPosition
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
    if let particulars, size > particulars.maximumSize { throw .fileTooLarge }
    try flush()
    if let content { return try content.resize(to: size) }
    guard let particulars else { throw .badFileDescriptor }
    switch particulars.place {
    case .nowhere: throw .badFileDescriptor
    case .backing(let owned): try owned.backing.resize(to: size)
    case .descriptor(let file): try Descriptor.resize(file.number, to: size)
    }
  }

  /// Writes out what is pending, and forgets what was read ahead.
  func flush() throws(Errno) {
    if isClosed { throw .badFileDescriptor }
    try particulars?.flush()
  }

  /// A descriptor of the file, which stays the file's. The position is its offset from now on.
  ///
  /// - Throws: EOPNOTSUPP for a file in a tree, and what moving a spooled file to disk gives.
  mutating func expose() throws(Errno) -> CInt {
    if let shared = particulars?.shared { return shared }
    try flush()
    let file = try ownDescriptor()
    try Descriptor.seek(file, to: ownPosition)
    let particulars = particulars ?? Particulars()
    particulars.buffer = nil
    particulars.shared = file
    self.particulars = particulars
    return file
  }

  private func ownDescriptor() throws(Errno) -> CInt {
    if let content { return try content.exposeDescriptor() }
    guard let particulars else { throw .badFileDescriptor }
    switch particulars.place {
    case .nowhere: throw .badFileDescriptor
    case .backing: throw .notSupported
    case .descriptor(let owned): return owned.number
    }
  }

  /// Closes whatever happens, and throws what went wrong first.
  ///
  /// - Parameter writing: whether what is pending matters. For a file that is gone afterwards it does not.
  @inline(__always)
  mutating func close(writing: Bool, removing: Bool = true) throws(Errno) {
    content = nil
    if let particulars { try particulars.close(writing: writing, removing: removing) }
  }
}
