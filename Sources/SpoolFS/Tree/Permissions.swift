import SpoolStorage
internal import SystemPackage

/// What an operation needs of an inode: the bits of access(2).
struct AccessMask: OptionSet, Sendable {
  let rawValue: UInt32
  static let read = AccessMask(rawValue: 4)
  static let write = AccessMask(rawValue: 2)
  static let execute = AccessMask(rawValue: 1)
}

/// The access rules of path_resolution(7), for callers in this process. The kernel applies its own to those who come
/// through a mount.
extension Inode {
  /// - Throws: EACCES.
  ///
  /// Preconditions: `lock` is held.
  func checkAccessLocked(_ wanted: AccessMask, by caller: Caller) throws(Errno) {
    if caller.isKernel { return }
    if caller.user == 0 {
      // Root passes, but executes nothing that nobody may execute.
      if kind == .directory || !wanted.contains(.execute) || mode & 0o111 != 0 { return }
      throw .permissionDenied
    }
    if permissionsLocked(of: caller) & wanted.rawValue != wanted.rawValue { throw .permissionDenied }
  }

  /// Whether `reader` may list this directory and go through it, also where the kernel checks what else he does.
  ///
  /// Preconditions: `lock` is held.
  func isOpenLocked(to reader: Caller) -> Bool {
    let wanted: AccessMask = [.read, .execute]
    return reader.user == 0 || permissionsLocked(of: reader) & wanted.rawValue == wanted.rawValue
  }

  /// The permission bits that apply to somebody who is not root.
  private func permissionsLocked(of caller: Caller) -> UInt32 {
    if caller.user == user { mode >> 6 } else if caller.isMember(of: group) { mode >> 3 } else { mode }
  }

  /// Whether `caller` may remove or rename `child` in this directory: write access and, with the sticky bit, ownership
  /// of one of them.
  ///
  /// - Throws: EACCES, EPERM.
  ///
  /// Preconditions: `lock` is held.
  func checkRemovalLocked(of child: Inode, by caller: Caller) throws(Errno) {
    if caller.passesChecks { return }
    try checkAccessLocked([.write, .execute], by: caller)
    guard mode & ModeBits.sticky != 0, caller.user != user else { return }
    if caller.user != child.lock.withLock({ child.user }) { throw .notPermitted }
  }

  /// The rules of chmod(2), chown(2), truncate(2) and utimensat(2).
  ///
  /// - Throws: EPERM, EACCES.
  ///
  /// Preconditions: `lock` is held.
  func checkChangesLocked(_ changes: AttributeChanges, by caller: Caller) throws(Errno) {
    if caller.passesChecks { return }
    let owns = caller.user == user
    if changes.mode != nil, !owns { throw .notPermitted }
    if let wanted = changes.user, !(owns && wanted == user) { throw .notPermitted }
    if let wanted = changes.group, !(owns && (wanted == group || caller.isMember(of: wanted))) { throw .notPermitted }
    if changes.size != nil { try checkAccessLocked(.write, by: caller) }
    switch (changes.accessed, changes.modified) {
    case (nil, nil): break
    case (.now, .now): if !owns { try checkAccessLocked(.write, by: caller) }
    default: if !owns { throw .notPermitted }
    }
  }
}
