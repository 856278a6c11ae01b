internal import ArgumentParser
internal import SpoolFS
internal import SystemPackage

/// The options that `run` and `mount` share.
struct TreeOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      """
      A file that grows beyond this continues on disk. 0: every file is on disk; 'unlimited': none is, and what \
      does not fit in --memory fails with ENOSPC. Default: 64m, at most half of --memory.
      """,
      valueName: "size"),
    transform: SizeAmount.init(parsing:))
  var threshold: SizeAmount?

  @Option(
    help: ArgumentHelp(
      "Memory for the data of all files together; beyond it, files spill to disk. Default: 25%.", valueName: "size"),
    transform: SizeAmount.init(parsing:))
  var memory: SizeAmount?

  @Option(
    name: .customLong("spill-dir"),
    help: ArgumentHelp(
      """
      Where data goes that does not stay in memory, in files without a name. Default: $SPOOLFS_SPILL_DIR, else \
      /var/tmp, else ~/.cache.
      """,
      valueName: "directory"))
  var spillDirectory: String?

  @Option(
    name: .customLong("spill-max"),
    help: ArgumentHelp(
      "Disk space for spilled data; 0 keeps everything in memory. Default: as much as the disk has.",
      valueName: "size"),
    transform: SizeAmount.init(parsing:))
  var spillCapacity: SizeAmount?

  @Flag(
    name: .customLong("encrypt-spill"),
    help: ArgumentHelp(
      """
      Encrypt what goes to disk, with a key that only the serving process has: the disk tells nothing to those who \
      read it later.
      """))
  var encryptsSpill = false

  @Flag(
    name: .customLong("no-swap"),
    help: ArgumentHelp(
      """
      Keep the memory of the serving process out of swap. 'ulimit -l' must allow for it where the process has no \
      CAP_IPC_LOCK.
      """))
  var staysOutOfSwap = false

  @Option(
    help: ArgumentHelp(
      "Limit for the data of all files, in memory and on disk, as tmpfs's size=. Default: none.", valueName: "size"),
    transform: SizeAmount.init(parsing:))
  var size: SizeAmount?

  @Option(
    help: ArgumentHelp(
      "Limit for the number of files and directories; 0 is none. Default: one for two pages of RAM.", valueName: "count"
    ),
    transform: parseCount)
  var inodes: Int64?

  @Option(
    help: ArgumentHelp(
      "Permissions of the root directory, in octal. Default: 0700, with --allow-other 1777.", valueName: "mode"),
    transform: parseMode)
  var mode: UInt32?

  @Option(
    help: ArgumentHelp(
      """
      How long a regular file lives: 'unmount' until it is removed or the tree is unmounted, 'close' until nothing \
      has it open any more. Default: unmount.
      """))
  var lifetime: FileSystem.Lifetime?

  @Option(
    help: """
      How the kernel caches file data. Default: writeback; writethrough where memory or the tree is too small for what \
      the kernel would hold back.
      """)
  var cache: MountOptions.Cache?

  @Option(
    help: """
      How the kernel's requests arrive: 'ring' over io_uring, which is the fastest (Linux 6.14, switched on in \
      /sys/module/fuse/parameters/enable_uring), 'device' over /dev/fuse, 'auto' over the ring where there is one. \
      Default: auto.
      """)
  var transport: MountOptions.Transport?

  @Flag(
    name: .customLong("allow-other"),
    help: "Let other users in, under the usual permission checks.")
  var allowOther = false

  @Option(
    name: .customShort("o"), parsing: .unconditionalSingleValue,
    help: ArgumentHelp(
      """
      Options as in fstab: tmpfs's names (size, nr_blocks, nr_inodes, mode, uid, gid, noswap), the flags of any mount (ro, \
      nosuid, nodev, noexec, noatime, …), allow_other, nonempty, xattr, and the options above with '_' for '-'. A long \
      option wins over its name in -o.
      """,
      valueName: "key=value,…"))
  var lists: [String] = []

  /// Passes over names in `-o` that nobody knows: mount(8)'s `-s`.
  @Flag(help: .hidden)
  var sloppy = false

  /// `-o` first, then the long options over it.
  func settings() throws(InvalidValue) -> Settings {
    var settings = Settings()
    for list in lists { try OptionList.apply(list, to: &settings, ignoringUnknown: sloppy) }
    settings.threshold = threshold ?? settings.threshold
    settings.memory = memory ?? settings.memory
    settings.spillDirectory = spillDirectory.map(CommandLineBytes.path) ?? settings.spillDirectory
    settings.spillCapacity = spillCapacity ?? settings.spillCapacity
    settings.encryptsSpill = encryptsSpill || settings.encryptsSpill
    settings.staysOutOfSwap = staysOutOfSwap || settings.staysOutOfSwap
    settings.size = size.map { $0 == .bytes(0) ? .unlimited : $0 } ?? settings.size
    settings.inodes = inodes ?? settings.inodes
    settings.mode = mode ?? settings.mode
    settings.lifetime = lifetime ?? settings.lifetime
    settings.cache = cache ?? settings.cache
    settings.transport = transport ?? settings.transport
    settings.allowOther = allowOther || settings.allowOther
    if settings.memory == .unlimited {
      throw InvalidValue(description: "--memory needs a size: everything that is in memory counts against it")
    }
    if settings.spillDirectory?.isEmpty == true {
      throw InvalidValue(description: "--spill-dir needs a directory")
    }
    return settings
  }

  mutating func validate() throws {
    do {
      _ = try settings()
    } catch {
      throw ValidationError(error.description)
    }
  }
}
