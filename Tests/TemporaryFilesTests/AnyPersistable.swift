import CSpoolSystem
import Glibc
import SystemPackage

@testable import TemporaryFiles

/// What the three kinds of files have in common when they become permanent.
protocol PersistableFile: ByteFile, ~Copyable {
  /// The name that the file has.
  var namedPath: FilePath? { get }
  var ownDescriptor: CInt? { get }
  mutating func fileDescriptor() throws(TemporaryFileError) -> FileDescriptor
  mutating func persist(
    to target: FilePath, replacing: Bool, synchronize: Bool, permissions: FilePermissions?
  ) throws(TemporaryFileError)
}

extension NamedTemporaryFile: PersistableFile {
  var namedPath: FilePath? { path }
  var ownDescriptor: CInt? { channel.bytes.descriptor }

  mutating func persist(
    to target: FilePath, replacing: Bool, synchronize: Bool, permissions: FilePermissions?
  ) throws(TemporaryFileError) {
    try persist(to: target, replacing: replacing, synchronize: synchronize, permissions: permissions, copying: true)
  }
}

extension TemporaryFile: PersistableFile {
  var namedPath: FilePath? { nil }
  var ownDescriptor: CInt? { channel.bytes.descriptor }

  mutating func persist(
    to target: FilePath, replacing: Bool, synchronize: Bool, permissions: FilePermissions?
  ) throws(TemporaryFileError) {
    try persist(to: target, replacing: replacing, synchronize: synchronize, permissions: permissions, copying: true)
  }
}

extension SpooledTemporaryFile: PersistableFile {
  var namedPath: FilePath? { nil }
  var ownDescriptor: CInt? { channel.bytes.descriptor }
}

/// One of them, for tests that do the same with each.
protocol AnyPersistable: AnyObject {
  var isClosed: Bool { get }
  var namedPath: FilePath? { get }
  /// Of the file that there is on disk, if there is one.
  var permissions: CModeT? { get throws }
  var size: Int64 { get throws }
  func all() throws -> String
  func put(_ text: String) throws
  func seek(to offset: Int64) throws
  func resize(to size: Int64) throws
  func close() throws
  func fileDescriptor() throws -> FileDescriptor
  func persist(
    to target: FilePath, replacing: Bool, synchronize: Bool, permissions: FilePermissions?
  ) throws(TemporaryFileError)
}

extension AnyPersistable {
  func persist(
    to target: FilePath, replacing: Bool = true, permissions: FilePermissions? = nil
  ) throws(TemporaryFileError) {
    try persist(to: target, replacing: replacing, synchronize: false, permissions: permissions)
  }
}

final class Persistable<File: PersistableFile & ~Copyable>: AnyPersistable {
  private var file: File

  init(_ file: consuming File) { self.file = file }

  var isClosed: Bool { file.isClosed }
  var namedPath: FilePath? { file.namedPath }
  var permissions: CModeT? {
    get throws { try file.ownDescriptor.map { try Descriptor.status($0).st_mode & 0o7777 } }
  }
  var size: Int64 { get throws { try file.size } }
  func all() throws -> String { try file.all() }
  func put(_ text: String) throws { try file.put(text) }
  func seek(to offset: Int64) throws { try file.seek(to: offset) }
  func resize(to size: Int64) throws { try file.resize(to: size) }
  func close() throws { try file.close() }
  func fileDescriptor() throws -> FileDescriptor { try file.fileDescriptor() }
  func persist(
    to target: FilePath, replacing: Bool, synchronize: Bool, permissions: FilePermissions?
  ) throws(TemporaryFileError) {
    try file.persist(to: target, replacing: replacing, synchronize: synchronize, permissions: permissions)
  }
}
