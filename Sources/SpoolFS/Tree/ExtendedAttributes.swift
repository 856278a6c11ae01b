internal import CSpoolSystem
import SpoolStorage
internal import SystemPackage

/// The extended attributes of one inode (xattr(7)). Protected by the inode's lock.
final class ExtendedAttributes {
  /// Limits of the kernel (XATTR_SIZE_MAX, XATTR_LIST_MAX), in bytes.
  static let maximumValue = 65_536
  static let maximumList = 65_536

  /// In the order they were first set, which is what listxattr(2) shows.
  private var attributes: [(name: [UInt8], value: [UInt8])] = []

  var names: [[UInt8]] { attributes.map(\.name) }

  func value(of name: [UInt8]) -> [UInt8]? {
    attributes.first { $0.name == name }?.value
  }

  /// - Parameter flags: XATTR_CREATE, XATTR_REPLACE or 0.
  /// - Throws: EEXIST, ENODATA, E2BIG, ENOSPC where the list of names grows too long.
  func set(_ name: [UInt8], _ value: [UInt8], flags: Int32) throws(Errno) {
    if value.count > Self.maximumValue { throw .argListTooLong }
    let place = attributes.firstIndex { $0.name == name }
    if let place {
      if flags & XATTR_CREATE != 0 { throw .fileExists }
      attributes[place].value = value
      return
    }
    if flags & XATTR_REPLACE != 0 { throw .noData }
    if attributes.reduce(name.count + 1, { $0 + $1.name.count + 1 }) > Self.maximumList { throw .noSpace }
    attributes.append((name, value))
  }

  /// - Throws: ENODATA.
  func remove(_ name: [UInt8]) throws(Errno) {
    guard let place = attributes.firstIndex(where: { $0.name == name }) else { throw .noData }
    attributes.remove(at: place)
  }
}

extension FileSystem {
  /// getxattr(2).
  ///
  /// - Throws: ENODATA, ENOTSUP where the tree was made without extended attributes.
  func extendedAttribute(_ name: [UInt8], of inode: Inode, by caller: Caller) throws(Errno) -> [UInt8] {
    try checkAttributeName(name, by: caller)
    return try inode.lock.withLock { () throws(Errno) in
      try inode.checkAttributeAccessLocked(name, .read, by: caller)
      guard let value = inode.extendedAttributes?.value(of: name) else { throw .noData }
      return value
    }
  }

  /// listxattr(2).
  func extendedAttributeNames(of inode: Inode) throws(Errno) -> [[UInt8]] {
    guard configuration.extendedAttributes else { throw .notSupported }
    return inode.lock.withLock { inode.extendedAttributes?.names ?? [] }
  }

  /// setxattr(2).
  ///
  /// - Throws: EEXIST, ENODATA, E2BIG, ENOSPC, EPERM, EACCES, ENOTSUP.
  func setExtendedAttribute(
    _ name: [UInt8], _ value: [UInt8], of inode: Inode, flags: Int32, by caller: Caller
  ) throws(Errno) {
    try checkAttributeName(name, by: caller)
    try headroom.look()
    try inode.lock.withLock { () throws(Errno) in
      try inode.checkAttributeAccessLocked(name, .write, by: caller)
      let attributes = inode.extendedAttributes ?? ExtendedAttributes()
      try attributes.set(name, value, flags: flags)
      inode.extendedAttributes = attributes
      inode.changed = .now
    }
    announceAttributes(of: inode, by: caller)
  }

  /// removexattr(2).
  ///
  /// - Throws: ENODATA, EPERM, EACCES, ENOTSUP.
  func removeExtendedAttribute(_ name: [UInt8], of inode: Inode, by caller: Caller) throws(Errno) {
    try checkAttributeName(name, by: caller)
    try inode.lock.withLock { () throws(Errno) in
      try inode.checkAttributeAccessLocked(name, .write, by: caller)
      guard let attributes = inode.extendedAttributes else { throw .noData }
      try attributes.remove(name)
      if !inode.isStampedByKernel(for: caller) { inode.changed = .now }
    }
    announceAttributes(of: inode, by: caller)
  }

  /// The namespaces of xattr(7) that tmpfs has: user, trusted (root alone) and security.
  private func checkAttributeName(_ name: [UInt8], by caller: Caller) throws(Errno) {
    guard configuration.extendedAttributes else { throw .notSupported }
    if name.count > FileName.maximumLength { throw .outOfRange }
    if name.starts(with: "trusted.".utf8) {
      if !caller.passesChecks { throw .notPermitted }
    } else if !name.starts(with: "user.".utf8), !name.starts(with: "security.".utf8) {
      throw .notSupported
    }
  }
}

extension Inode {
  /// `user.` attributes belong to regular files and directories, and follow their permission bits.
  fileprivate func checkAttributeAccessLocked(
    _ name: [UInt8], _ wanted: AccessMask, by caller: Caller
  ) throws(Errno) {
    guard name.starts(with: "user.".utf8) else { return }
    if kind != .regular, kind != .directory { throw wanted == .read ? .noData : .notPermitted }
    try checkAccessLocked(wanted, by: caller)
  }
}
