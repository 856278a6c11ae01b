import SpoolFS
import SystemPackage

/// What `OptionList` fills: the command's `Settings` without what it makes of them, which takes the package's own names.
struct Settings: Sendable {
  var threshold: SizeAmount?
  var memory: SizeAmount?
  var spillDirectory: FilePath?
  var spillCapacity: SizeAmount?
  var encryptsSpill = false
  var size: SizeAmount?
  var inodes: Int64?
  var mode: UInt32?
  var user: UInt32?
  var group: UInt32?
  var lifetime: FileSystem.Lifetime?
  var cache: MountOptions.Cache?
  var transport: MountOptions.Transport?
  var allowOther = false
  var nonEmpty = false
  var staysOutOfSwap = false
  var extendedAttributes = false
  var flags = MountOptions().flags
}
