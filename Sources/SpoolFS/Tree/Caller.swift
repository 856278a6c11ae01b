internal import Glibc

/// On whose behalf an operation runs.
struct Caller: Sendable {
  var user: UInt32
  var group: UInt32
  var supplementaryGroups: [UInt32]
  /// Process id as this process sees it.
  var process: Int32
  /// Whether the request came through a mount: the kernel has checked access, and knows of the change.
  var isKernel: Bool
  /// Whether `supplementaryGroups` are all there are: the kernel sends one group alone.
  var knowsGroups = true
  /// Whether the kernel keeps the modification and change times of regular files, as it does with a write-back cache.
  /// What it asks for on behalf of this caller leaves them alone.
  var stampsFiles = false

  /// The sender of a request that came through the mount.
  static func kernel(user: UInt32, group: UInt32, process: Int32, stampsFiles: Bool) -> Caller {
    Caller(
      user: user, group: group, supplementaryGroups: [], process: process, isKernel: true, knowsGroups: false,
      stampsFiles: stampsFiles)
  }

  /// Somebody in this process, checked against the tree's permissions unless `user` is 0.
  static func local(user: UInt32, group: UInt32, supplementaryGroups: [UInt32] = []) -> Caller {
    Caller(
      user: user, group: group, supplementaryGroups: supplementaryGroups, process: getpid(), isKernel: false)
  }

  /// This process's effective user and groups (geteuid(2), getegid(2), getgroups(2)).
  static func current() -> Caller {
    var groups = [gid_t](repeating: 0, count: max(0, Int(getgroups(0, nil))))
    let count = getgroups(Int32(groups.count), &groups)
    return local(user: geteuid(), group: getegid(), supplementaryGroups: Array(groups.prefix(max(0, Int(count)))))
  }

  /// Whether permission bits do not bind this caller: the kernel asked already, or it is root.
  var passesChecks: Bool { isKernel || user == 0 }

  func isMember(of group: UInt32) -> Bool {
    self.group == group || supplementaryGroups.contains(group)
  }

  /// Whether it is neither root nor a member of the group, as far as that is known.
  func isOutside(_ group: UInt32) -> Bool { user != 0 && knowsGroups && !isMember(of: group) }
}
