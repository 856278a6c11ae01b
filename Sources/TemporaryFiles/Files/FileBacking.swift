package import SystemPackage

/// The bytes of a temporary file that lives somewhere else than in a spooled file or behind a descriptor, such as in a
/// tree in this process.
package protocol FileBacking: AnyObject, Sendable {
  /// The path at the place where it lives.
  var path: FilePath? { get }
  var size: Int64 { get }
  var isRolledOver: Bool { get }
  func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int64) throws(Errno) -> Int
  func write(_ bytes: UnsafeRawBufferPointer, at offset: Int64) throws(Errno)
  func resize(to size: Int64) throws(Errno)
  func rollOver() throws(Errno)
  /// Takes the file's name away, if it still is the file's.
  func remove() throws(Errno)
  /// Ends the use of the file, and takes its name away if asked to. Only the first call counts.
  func close(removing: Bool) throws(Errno)
}

/// A temporary directory that lives somewhere else than on the host, such as in a tree in this process.
package protocol DirectoryBacking: AnyObject, Sendable {
  var path: FilePath { get }
  /// Removes it with everything in it, if it still is there.
  func remove() throws(TemporaryFileError)
}
