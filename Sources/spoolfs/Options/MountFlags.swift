internal import SpoolFS

/// The flags of mount(8) that apply to any filesystem.
enum MountFlags {
  /// What each name does to which flag.
  private static let changes: [String: (flag: MountOptions.Flags, isSet: Bool)] = [
    "ro": (.readOnly, true), "rw": (.readOnly, false), "nosuid": (.noSetUserID, true), "suid": (.noSetUserID, false),
    "nodev": (.noDevices, true), "dev": (.noDevices, false), "noexec": (.noExecution, true),
    "exec": (.noExecution, false), "sync": (.synchronous, true), "async": (.synchronous, false),
    "dirsync": (.directorySynchronous, true), "noatime": (.noAccessTimes, true), "atime": (.noAccessTimes, false),
    "nodiratime": (.noDirectoryAccessTimes, true), "diratime": (.noDirectoryAccessTimes, false),
    "strictatime": (.strictAccessTimes, true), "nostrictatime": (.strictAccessTimes, false),
  ]

  /// What is so anyway, or is for mount(8), fstab(5) and systemd.mount(5) alone.
  private static let withoutEffect: Set<String> = [
    "defaults", "relatime", "norelatime", "lazytime", "nolazytime", "auto", "noauto",
    "user", "nouser", "users", "owner", "group", "nofail", "_netdev",
  ]

  /// Takes in one flag. False: there is no such flag.
  static func apply(_ name: String, to flags: inout MountOptions.Flags) -> Bool {
    if let change = changes[name] {
      if change.isSet { flags.insert(change.flag) } else { flags.remove(change.flag) }
      return true
    }
    return withoutEffect.contains(name) || ["x-", "X-", "comment="].contains { name.hasPrefix($0) }
  }
}
