internal import SpoolFS
internal import SpoolStorage
internal import SystemPackage

extension Settings {
  /// The settings as the tree wants them.
  var tree: FileSystem.Configuration {
    let memory = usableMemory()
    var storage = SpoolConfiguration()
    storage.threshold = threshold.map { $0.resolved(memory: memory).map { .bytes($0) } ?? .unlimited }
    storage.memoryBudget = self.memory?.resolved(memory: memory)
    storage.spillDirectory = spillDirectory
    storage.spillCapacity = spillCapacity?.resolved(memory: memory)
    storage.encryptsSpill = encryptsSpill
    storage.sizeLimit = size?.resolved(memory: memory)
    // Private to its owner, or as /tmp is.
    let mode = mode ?? (allowOther ? 0o1777 : 0o700)
    return FileSystem.Configuration(
      storage: storage, inodeLimit: inodes.map { Int($0) }, rootMode: FilePermissions(rawValue: mode),
      rootUser: user, rootGroup: group, extendedAttributes: extendedAttributes, lifetime: lifetime ?? .unmount)
  }

  /// The settings as the mount wants them.
  var mount: MountOptions {
    // Nobody but the users of the mount changes the tree, so the kernel may own what is written.
    MountOptions(
      cache: cache ?? .suited(to: tree.storage), allowOther: allowOther, flags: flags,
      allowsNonemptyMountPoint: nonEmpty,
      transport: transport ?? .auto)
  }
}
