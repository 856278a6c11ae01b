internal import CSpoolSystem
import SpoolStorage
internal import SystemPackage

/// An open regular file of a ``FileSystem`` in this process.
///
/// It has no position: every operation names its offset, as pread(2) and pwrite(2) do. It may be used from many threads.
/// The file lives as long as it is open, also when its names are removed. Dropping the handle closes it.
public struct OpenFile: ~Copyable, Sendable {
  private let fileSystem: FileSystem
  private let inode: Inode
  private let caller: Caller
  private let mode: FileDescriptor.AccessMode
  private let path: FilePath

  init(
    _ fileSystem: FileSystem, _ inode: Inode, by caller: Caller, mode: FileDescriptor.AccessMode, path: FilePath
  ) {
    self.fileSystem = fileSystem
    self.inode = inode
    self.caller = caller
    self.mode = mode
    self.path = path
    fileSystem.opened(inode)
  }

  deinit { fileSystem.endUse(of: inode, by: caller) }

  /// Closes the file. The corresponding C function is `close`.
  ///
  /// With ``FileSystem/Lifetime/close`` the last close of a file removes it.
  public consuming func close() {}

  /// The attributes. The corresponding C function is `fstat`.
  public var metadata: FileMetadata { FileMetadata(fileSystem.attributes(of: inode), kind: inode.kind) }

  /// Length in bytes.
  public var size: Int64 { fileSystem.attributes(of: inode).size }

  /// Reads at an offset. The corresponding C function is `pread`.
  ///
  /// - Returns: the number of bytes read; less than `buffer.count` at the end of the file, 0 past it.
  /// - Throws: ``SpoolFSError`` with EBADF where it was opened for writing only, EINVAL, EIO.
  public func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int64) throws(SpoolFSError) -> Int {
    try wrap("read") { () throws(Errno) in
      if mode == .writeOnly { throw .badFileDescriptor }
      return try fileSystem.read(inode, into: buffer, at: offset)
    }
  }

  /// Writes all of `bytes` at an offset, or nothing. The corresponding C function is `pwrite`.
  ///
  /// - Throws: ``SpoolFSError`` with EBADF where it was opened for reading only, ENOSPC, EFBIG, EINVAL, EIO.
  public func write(_ bytes: UnsafeRawBufferPointer, at offset: Int64) throws(SpoolFSError) {
    try wrap("write") { () throws(Errno) in
      if mode == .readOnly { throw .badFileDescriptor }
      _ = try fileSystem.write(inode, bytes, at: offset, by: caller)
    }
  }

  /// Writes all of `bytes` at the end, or nothing, whatever other writers do. The corresponding C function is `write` on
  /// a descriptor with `O_APPEND`.
  ///
  /// - Returns: the offset the bytes went to.
  /// - Throws: as ``write(_:at:)-(UnsafeRawBufferPointer,_)``.
  @discardableResult
  public func append(_ bytes: UnsafeRawBufferPointer) throws(SpoolFSError) -> Int64 {
    try wrap("append") { () throws(Errno) in
      if mode == .readOnly { throw .badFileDescriptor }
      return try fileSystem.append(to: inode, bytes, by: caller)
    }
  }

  /// Reads up to `count` bytes at an offset.
  ///
  /// - Throws: ``SpoolFSError`` as ``read(into:at:)``; EFBIG for more bytes than the process can have memory for.
  public func read(count: Int, at offset: Int64) throws(SpoolFSError) -> [UInt8] {
    var failure: SpoolFSError?
    let count = min(Int64(max(0, count)), max(0, size - max(0, offset)))
    // An array too large to be made ends the process, and with it every file of the tree.
    guard count <= FileSystem.largestArray, count < 1 << 20 || AddressSpace.hasRoom(for: Int(count)) else {
      throw SpoolFSError(errno: .fileTooLarge, operation: "read from", path: path)
    }
    let bytes = [UInt8](unsafeUninitializedCapacity: Int(count)) { buffer, initialized in
      do throws(SpoolFSError) {
        initialized = try read(into: UnsafeMutableRawBufferPointer(buffer), at: offset)
      } catch {
        failure = error
      }
    }
    if let failure { throw failure }
    return bytes
  }

  /// Writes all of `bytes` at an offset, or nothing.
  public func write(_ bytes: [UInt8], at offset: Int64) throws(SpoolFSError) {
    var failure: SpoolFSError?
    bytes.withUnsafeBytes { buffer in
      do throws(SpoolFSError) { try write(buffer, at: offset) } catch { failure = error }
    }
    if let failure { throw failure }
  }

  /// Sets the length; a longer file gets a hole. The corresponding C function is `ftruncate`.
  ///
  /// - Throws: ``SpoolFSError`` with EBADF, EINVAL, EFBIG, ENOSPC (a file that must continue on a full disk).
  public func resize(to size: Int64) throws(SpoolFSError) {
    try wrap("resize") { () throws(Errno) in
      if mode == .readOnly { throw .badFileDescriptor }
      try fileSystem.resize(inode, to: size, by: caller)
    }
  }

  /// Gives a range of zeros space, so that later writes to it find room. The corresponding C function is `fallocate`.
  public func allocate(offset: Int64, count: Int64, keepingSize: Bool = false) throws(SpoolFSError) {
    try changeSpace(keepingSize ? FALLOC_FL_KEEP_SIZE : 0, offset, count)
  }

  /// Takes the space of a range away: it reads as zeros. The corresponding C function is `fallocate` with
  /// `FALLOC_FL_PUNCH_HOLE`.
  public func punchHole(offset: Int64, count: Int64) throws(SpoolFSError) {
    try changeSpace(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, count)
  }

  private func changeSpace(_ mode: Int32, _ offset: Int64, _ count: Int64) throws(SpoolFSError) {
    try wrap("allocate space in") { () throws(Errno) in
      if self.mode == .readOnly { throw .badFileDescriptor }
      try fileSystem.allocate(inode, mode: mode, at: offset, count: count, by: caller)
    }
  }

  /// The first offset at or after `offset` that holds data. The corresponding C function is `lseek` with `SEEK_DATA`.
  ///
  /// - Throws: ``SpoolFSError`` with ENXIO where none follows.
  public func nextData(from offset: Int64) throws(SpoolFSError) -> Int64 {
    try wrap("seek in") { () throws(Errno) in try fileSystem.seek(inode, from: offset, whence: SEEK_DATA) }
  }

  /// The first offset at or after `offset` that lies in a hole; the end of the file is one. The corresponding C function
  /// is `lseek` with `SEEK_HOLE`.
  ///
  /// - Throws: ``SpoolFSError`` with ENXIO past the end.
  public func nextHole(from offset: Int64) throws(SpoolFSError) -> Int64 {
    try wrap("seek in") { () throws(Errno) in try fileSystem.seek(inode, from: offset, whence: SEEK_HOLE) }
  }

  /// Whether the contents lie on disk.
  public var isRolledOver: Bool {
    inode.lock.withLock {
      guard case .regular(let content) = inode.payload else { return false }
      return content?.isRolledOver ?? false
    }
  }

  private func wrap<Result>(
    _ operation: String, _ body: () throws(Errno) -> Result
  ) throws(SpoolFSError) -> Result {
    do throws(Errno) { return try body() } catch {
      throw SpoolFSError(errno: error, operation: operation, path: path)
    }
  }
}
