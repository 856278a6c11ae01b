internal import SpoolFS
internal import SystemPackage

/// What a tree and its mount are to be like: the long options and the lists of `-o` put together. Nil means that the
/// library's default applies.
struct Settings: Equatable, Sendable {
  var threshold: SizeAmount?
  var memory: SizeAmount?
  var spillDirectory: FilePath?
  var spillCapacity: SizeAmount?
  var encryptsSpill = false
  var staysOutOfSwap = false
  var size: SizeAmount?
  /// 0 is no limit.
  var inodes: Int64?
  var mode: UInt32?
  var user: UInt32?
  var group: UInt32?
  var lifetime: FileSystem.Lifetime?
  var cache: MountOptions.Cache?
  var transport: MountOptions.Transport?
  var allowOther = false
  var nonEmpty = false
  var extendedAttributes = false
  var flags = MountOptions().flags
}
