internal import CSpoolSystem
internal import Glibc
internal import SpoolStorage
internal import SystemPackage

/// What every kind of handle is made of: bytes with a position, and errors that say what was being done to which file.
struct Channel: ~Copyable, Sendable {
  var bytes: PositionedBytes

  init(_ content: FileContent, maximumSize: Int64?) {
    bytes = PositionedBytes(content, maximumSize: maximumSize)
  }

  init(descriptor: CInt, path: FilePath? = nil, buffer: FileBuffer?, maximumSize: Int64?) {
    bytes = PositionedBytes(
      Particulars(descriptor: descriptor, path: path, buffer: buffer, maximumSize: maximumSize))
  }

  init(_ backing: any FileBacking, path: FilePath? = nil, maximumSize: Int64?) {
    bytes = PositionedBytes(Particulars(backing, path: path, maximumSize: maximumSize))
  }

  /// What errors name; nil for a file without a name.
  var path: FilePath? { bytes.path }

  var isClosed: Bool { bytes.isClosed }

  var position: Int64 {
    get throws(TemporaryFileError) {
      do throws(Errno) { return try bytes.position } catch { throw failure(error, "tell the position in") }
    }
  }

  var size: Int64 {
    get throws(TemporaryFileError) {
      do throws(Errno) { return try bytes.size } catch { throw failure(error, "tell the size of") }
    }
  }

  @inline(__always)
  mutating func read(into buffer: UnsafeMutableRawBufferPointer) throws(TemporaryFileError) -> Int {
    do throws(Errno) { return try bytes.read(into: buffer) } catch { throw failure(error, "read from") }
  }

  @inline(__always)
  mutating func write(_ buffer: UnsafeRawBufferPointer) throws(TemporaryFileError) {
    do throws(Errno) { try bytes.write(buffer) } catch { throw failure(error, "write to") }
  }

  @inline(__always)
  mutating func seek(to offset: Int64, from origin: SeekOrigin) throws(TemporaryFileError) -> Int64 {
    do throws(Errno) { return try bytes.seek(to: offset, from: origin) } catch { throw failure(error, "seek in") }
  }

  mutating func resize(to size: Int64) throws(TemporaryFileError) {
    do throws(Errno) { try bytes.resize(to: size) } catch { throw failure(error, "resize") }
  }

  func flush() throws(TemporaryFileError) {
    do throws(Errno) { try bytes.flush() } catch { throw failure(error, "flush") }
  }

  mutating func fileDescriptor() throws(TemporaryFileError) -> FileDescriptor {
    do throws(Errno) { return FileDescriptor(rawValue: try bytes.expose()) } catch {
      throw failure(error, "get a descriptor of")
    }
  }

  /// Opens the file of the descriptor anew, with an offset of its own.
  func reopen(_ mode: FileDescriptor.AccessMode) throws(TemporaryFileError) -> FileDescriptor {
    do throws(Errno) {
      try bytes.flush()
      guard let file = bytes.descriptor else { throw .notSupported }
      return FileDescriptor(rawValue: try retryingInterrupts { spool_reopen(file, mode.rawValue) })
    } catch {
      throw failure(error, "open anew")
    }
  }

  /// Moves the bytes to disk.
  func rollOver() throws(TemporaryFileError) {
    do throws(Errno) {
      if let content = bytes.content {
        try content.rollOver()
      } else if let backing = bytes.backing {
        try backing.rollOver()
      } else {
        throw .badFileDescriptor
      }
    } catch {
      throw failure(error, "move to disk")
    }
  }

  /// Closes whatever happens, and throws what went wrong first.
  ///
  /// - Parameter writing: whether what is pending matters. For a file that is gone afterwards it does not.
  @inline(__always)
  mutating func close(writing: Bool, removing: Bool = true) throws(TemporaryFileError) {
    do throws(Errno) { try bytes.close(writing: writing, removing: removing) } catch { throw failure(error, "close") }
  }

  @inline(never)
  func failure(_ errno: Errno, _ operation: String) -> TemporaryFileError {
    if let content = bytes.content, content.takeMoveFailure() {
      return TemporaryFileError(
        .rolloverFailed, operation: operation, path: path, errno: errno,
        message: "the file has to move to disk, which fails; it is in memory as it was: \(errno)")
    }
    if errno == .fileTooLarge {
      return TemporaryFileError(
        .sizeLimitExceeded, operation: operation, path: path, errno: errno,
        message: "the file would become larger than it may; nothing has been written")
    }
    return TemporaryFileError(errno: errno, operation: operation, path: path)
  }
}
