internal import CSpoolSystem
internal import Glibc

/// What the kernel and we agree on in INIT: all of it is decided here.
///
/// libfuse answers INIT, but 3.14 knows only part of the flags, leaves some out that are "wanted", and adds others that
/// would corrupt data here. So its answer is overwritten before it is sent.
struct Negotiation {
  /// Data of one WRITE and of one READ, in bytes.
  static let maximumWrite = 1 << 20
  /// Readahead and asynchronous direct requests under way at a time.
  private static let maximumBackground: UInt16 = 64
  /// Above this many of those the kernel takes the mount for congested.
  private static let congestionThreshold: UInt16 = 48

  private let cache: MountOptions.Cache
  /// Whether requests are to come over io_uring.
  var wantsRing = false

  /// What the kernel can do.
  private(set) var offered: Features = []
  /// What was agreed on; empty until INIT was answered.
  private(set) var agreed: Features = []

  init(cache: MountOptions.Cache) { self.cache = cache }

  /// Flags of INIT by their kernel numbers; those from 32 on travel in `flags2`.
  struct Features: OptionSet {
    let rawValue: UInt64

    /// Several READs of one file at a time.
    static let asyncRead = Features(rawValue: 1 << 0)
    /// WRITEs larger than a page.
    static let bigWrites = Features(rawValue: 1 << 5)
    static let readdirplus = Features(rawValue: 1 << 13)
    /// READDIRPLUS only where the entries are then looked at.
    static let readdirplusAuto = Features(rawValue: 1 << 14)
    /// Several requests of one direct read or write at a time, and io_submit(2) that does not wait.
    static let asyncDirectIO = Features(rawValue: 1 << 15)
    static let writebackCache = Features(rawValue: 1 << 16)
    /// Lookups and listings of one directory at the same time.
    static let parallelDirectoryOperations = Features(rawValue: 1 << 18)
    /// `max_pages` counts; without it a request carries 128 KiB.
    static let maximumPages = Features(rawValue: 1 << 22)
    static let cacheSymlinks = Features(rawValue: 1 << 23)
    /// The page cache is dropped only when we say so.
    static let explicitInvalidation = Features(rawValue: 1 << 25)
    /// We take set-user and set-group bits and capabilities away. The kernel need not ask for the mode before each chown(2),
    /// nor for capabilities before a file's first write.
    static let handleKillPrivilegesV2 = Features(rawValue: 1 << 28)
    /// `flags2` counts.
    static let extendedFlags = Features(rawValue: 1 << 30)
    /// Shared mappings of files that bypass the page cache.
    static let directIOAllowMmap = Features(rawValue: 1 << 36)
    /// Requests come over io_uring, once each queue has an entry. The kernel does not fall back by itself before that.
    static let ring = Features(rawValue: 1 << 41)
  }

  // Not wanted, on purpose:
  // - ASYNC_DIO with a page cache: after an asynchronous direct write the kernel drops no pages that were read while it was
  //   under way, so that buffered reads find old bytes for ever;
  // - ATOMIC_O_TRUNC (1 << 3): with ENOSYS to OPEN, O_TRUNC would never reach us;
  // - AUTO_INVAL_DATA (1 << 12): the change of mtime by our own writes would drop the page cache;
  // - POSIX_LOCKS, FLOCK_LOCKS: the kernel keeps locks by itself, without requests;
  // - DONT_MASK: the kernel applies the umask; POSIX_ACL: we have none;
  // - SPLICE_*: slower than read and write for small requests;
  // - EXPORT_SUPPORT: node ids are never reused, but nobody exports a temporary directory over NFS.
  private var wanted: Features {
    var features: Features = [
      .asyncRead, .bigWrites, .readdirplus, .readdirplusAuto, .parallelDirectoryOperations, .maximumPages,
      .cacheSymlinks,
      .explicitInvalidation, .handleKillPrivilegesV2, .extendedFlags,
    ]
    switch cache {
    case .writeback: features.insert(.writebackCache)
    case .writethrough: break
    case .none: features.formUnion([.directIOAllowMmap, .asyncDirectIO])
    }
    if wantsRing { features.insert(.ring) }
    return features
  }

  /// Reads what the kernel offers from its INIT request.
  mutating func readOffer(_ message: UnsafeMutableRawBufferPointer) {
    // Kernels before 5.17 send a shorter one.
    var offer = fuse_init_in()
    withUnsafeMutableBytes(of: &offer) { offer in
      offer.copyBytes(from: message.dropFirst(MessageLayout.headerSize).prefix(offer.count))
    }
    var flags = UInt64(offer.flags)
    if flags & Features.extendedFlags.rawValue != 0 { flags |= UInt64(offer.flags2) << 32 }
    offered = Features(rawValue: flags)
  }

  /// Overwrites libfuse's answer to INIT.
  ///
  /// - Returns: false where the kernel's protocol is too old for it.
  mutating func rewriteAnswer(_ answer: UnsafeMutableRawBufferPointer) -> Bool {
    guard answer.count >= MemoryLayout<fuse_init_out>.size else { return false }
    agreed = wanted.intersection(offered)
    var reply = answer.loadUnaligned(as: fuse_init_out.self)
    reply.flags = UInt32(truncatingIfNeeded: agreed.rawValue)
    reply.flags2 = UInt32(truncatingIfNeeded: agreed.rawValue >> 32)
    reply.max_background = Self.maximumBackground
    reply.congestion_threshold = Self.congestionThreshold
    reply.max_write = UInt32(Self.maximumWrite)
    reply.max_pages = UInt16(Self.maximumWrite / Int(getpagesize()))
    reply.time_gran = 1
    answer.storeBytes(of: reply, as: fuse_init_out.self)
    return true
  }

  // MARK: - Which requests are answered with ENOSYS, so that the kernel stops sending them

  /// Without OPEN nothing can ask for direct I/O, and nobody sees a close.
  func servesOpen(_ lifetime: FileSystem.Lifetime) -> Bool { cache == .none || lifetime == .close }

  /// Whether the kernel may hold data that the tree has not seen.
  var kernelHoldsData: Bool { agreed.contains(.writebackCache) }

  /// Whether reads go through the page cache, where nobody asks for direct I/O.
  var cachesReads: Bool { cache != .none }

  /// FOPEN_ flags of the answer to OPEN and CREATE.
  var openFlags: UInt32 {
    // FOPEN_PARALLEL_DIRECT_WRITES, 1 << 6: `FileContent` orders overlapping writes itself.
    cache == .none ? UInt32(FOPEN_DIRECT_IO) | 1 << 6 : UInt32(FOPEN_KEEP_CACHE)
  }
}
