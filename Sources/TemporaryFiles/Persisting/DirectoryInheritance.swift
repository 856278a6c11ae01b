internal import CSpoolSystem
internal import Glibc
internal import SpoolStorage
internal import SystemPackage

/// What a directory gives to each file that is made in it, whoever makes it.
struct DirectoryInheritance: Equatable {
  /// nil where the file has the group of the process.
  var group: gid_t?
  /// The access control list (acl(5)) that comes of the directory's default one, as the kernel encodes it; nil for none.
  var accessList: [UInt8]?

  /// - Parameters:
  ///   - directory: opened with O_PATH or for reading.
  ///   - makeProbe: makes a file in the directory and returns its descriptor. It is asked for one only where there is no
  ///     other way to know.
  init(of directory: CInt, _ makeProbe: () throws(Errno) -> CInt) throws(Errno) {
    let status = try Descriptor.status(directory)
    let handsGroupDown = status.st_mode & S_ISGID != 0
    if handsGroupDown { group = status.st_gid }
    let hasDefaultList = spool_has_default_access_list(directory) != 0
    // Some filesystems can be mounted so that all directories hand their group down.
    if !hasDefaultList, handsGroupDown || status.st_gid == getegid() { return }
    let probe = try makeProbe()
    defer { close(probe) }
    let group = try Descriptor.status(probe).st_gid
    if group != getegid() { self.group = group }
    if hasDefaultList { accessList = try AccessList.read(probe) }
  }
}

/// Group, permissions and access control list of a file on disk.
struct AccessAttributes: Equatable {
  var group: gid_t
  var mode: mode_t
  /// nil for none.
  var accessList: [UInt8]?

  init(of file: CInt, withAccessList: Bool) throws(Errno) {
    let status = try Descriptor.status(file)
    group = status.st_gid
    mode = status.st_mode & 0o7777
    if withAccessList { accessList = try AccessList.read(file) }
  }

  /// Gives a file these in place of `current`.
  func apply(to file: CInt, over current: AccessAttributes) throws(Errno) {
    if self == current { return }
    if group != current.group { try retryingInterrupts { fchown(file, .max, group) } }
    if accessList != current.accessList { try AccessList.set(accessList, of: file) }
    // Last, because each of the others changes permissions.
    try retryingInterrupts { fchmod(file, mode) }
  }

  /// Gives a file these, as far as that goes.
  func restore(to file: CInt, over changed: AccessAttributes) {
    if self == changed { return }
    if group != changed.group { _ = fchown(file, .max, group) }
    if accessList != changed.accessList { try? AccessList.set(accessList, of: file) }
    _ = fchmod(file, mode)
  }
}

/// Access control lists of files, as the kernel encodes them.
private enum AccessList {
  /// XATTR_SIZE_MAX.
  private static let maximumSize = 65_536

  /// nil for none.
  static func read(_ file: CInt) throws(Errno) -> [UInt8]? {
    var length = 0
    var failure: Errno?
    let bytes = [UInt8](unsafeUninitializedCapacity: maximumSize) { buffer, count in
      do throws(Errno) {
        length = try retryingInterrupts { spool_get_access_list(file, buffer.baseAddress, buffer.count) }
        count = length
      } catch {
        failure = error
      }
    }
    switch failure {
    case nil: return bytes
    // ENODATA: there is none; EOPNOTSUPP: there are none here.
    case .noData?, .notSupported?: return nil
    case let error?: throw error
    }
  }

  /// - Parameter list: nil takes it away.
  static func set(_ list: [UInt8]?, of file: CInt) throws(Errno) {
    try retryingInterrupts {
      guard let list else { return spool_remove_access_list(file) }
      return spool_set_access_list(file, list, list.count)
    }
  }
}
