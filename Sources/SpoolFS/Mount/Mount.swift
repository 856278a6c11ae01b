internal import Glibc
import SpoolStorage
public import SystemPackage

/// A mounted tree.
///
/// Other programs see the tree under `path` as long as this object lives or until `unmount(lazily:)`. It must be
/// unmounted, or dropped, before the process ends: otherwise a dead mount stays ("Transport endpoint is not connected"),
/// unless `MountOptions.unmountsWhenProcessDies` was set.
///
/// A process may use its own mount: each call blocks a thread, as with any filesystem, and threads of the mount serve it.
/// It must not map files of its own mount into memory, though (mmap(2), `dlopen`, `Data` with `.mappedIfSafe`): the kernel
/// may then wait for the mount while it holds the lock of the process's address space, which the mount's threads need to
/// get memory, and nobody goes on. Other processes map as they like.
public final class Mount: Sendable {
  /// Where it is mounted: absolute, without symbolic links.
  public let path: FilePath

  let session: Session
  private let deviceNumber: (major: Int, minor: Int)
  private let guardian: GuardianSlot

  init(_ files: FileSystem, at path: FilePath, options: MountOptions) throws(SpoolFSError) {
    self.path = try MountPoint.resolve(path, mayHaveEntries: options.allowsNonemptyMountPoint)
    guard MountedFileSystems.claim(files) else {
      throw SpoolFSError(
        .alreadyMounted, operation: "mount", path: path, message: "this filesystem is mounted elsewhere already")
    }
    do throws(SpoolFSError) {
      let obstacle = try Self.ringObstacle(options, path)
      (session, deviceNumber, guardian) = try Self.connect(files, at: self.path, options, ringObstacle: obstacle)
    } catch {
      MountedFileSystems.release(files)
      throw error
    }
  }

  deinit {
    // Lazily, because nobody is there to be told that it is busy.
    try? unmount(lazily: true)
    guardian.dismiss()
  }

  /// What the kernel asked for, and what it was told.
  public struct Statistics: Sendable {
    /// Requests that reached this process, by the FUSE protocol's name for them: `LOOKUP`, `WRITE`.
    public var requests: [String: UInt64]
  }

  /// Numbers since the mount was made.
  public var statistics: Statistics { Statistics(requests: session.requestCounts) }

  /// umount2(2): takes the mount away.
  ///
  /// Returns at once where nothing is mounted any more.
  ///
  /// - Parameter lazily: take it out of the tree of directories now, and serve whoever still uses it until they have
  ///   gone (MNT_DETACH).
  /// - Throws: `.busy` where somebody uses it and `lazily` is false, or has mounted something on top; the mount then works
  ///   on.
  public func unmount(lazily: Bool = false) throws(SpoolFSError) {
    if session.hasEnded {
      removeDeadMount()
    } else if try isMounted() {
      do throws(SpoolFSError) {
        try MountPoint.unmount(path, lazily: lazily)
      } catch {
        // Somebody else was faster.
        guard error.code == .notMounted else { throw error }
      }
    }
    // The kernel has dropped the connection by now, unless another mount namespace has a copy of the mount.
    if !lazily { session.waitForEnd(timeout: .seconds(2)) }
    guardian.dismiss()
  }

  /// Blocks the thread until the kernel has dropped the connection: after an unmount by whomever, and the end of the
  /// last user of a mount that was taken away lazily.
  public func waitUntilUnmounted() {
    session.waitForEnd()
    removeDeadMount()
    guardian.dismiss()
  }

  /// Whether the kernel still sends requests: not after an unmount, and not when somebody has aborted the connection.
  package var isConnected: Bool { session.isConnected }

  /// Descriptors that files on disk leave to the rest of the process: for readers that are added under load, and for what
  /// takes the mount away.
  private static let reservedDescriptors = 64

  /// Takes the mount away whose connection was aborted: nobody can use it, and nobody else would remove it.
  ///
  /// The device's number may belong to another mount by now, at the same place even; that one is not dead.
  private func removeDeadMount() {
    guard (try? isMounted()) == true, MountPoint.isDead(path) else { return }
    try? MountPoint.unmount(path, lazily: true)
  }

  /// Whether the mount is there still.
  ///
  /// - Throws: `.busy` where another mount covers it, which must not be unmounted in its place.
  private func isMounted() throws(SpoolFSError) -> Bool {
    let mounts: [MountEntry]
    do throws(Errno) {
      mounts = try MountTable.entries().filter { $0.path == path }
    } catch {
      throw SpoolFSError(errno: error, operation: "read the mount table for", path: path)
    }
    guard let own = mounts.lastIndex(where: { ($0.major, $0.minor) == deviceNumber }) else { return false }
    if own == mounts.count - 1 { return true }
    throw SpoolFSError(
      .busy, operation: "unmount", path: path, errno: .resourceBusy, message: "another mount is on top of it")
  }

  /// How requests come: `.ring` or `.device`.
  public var transport: MountOptions.Transport { session.transport }

  /// Why they do not come over a ring although `MountOptions.Transport.auto` allows it, and what would help.
  public var ringObstacle: String? { session.ringObstacle }

  // MARK: - Making

  /// What keeps requests from coming over a ring; nil where nothing does, or nobody wants it.
  ///
  /// - Throws: `.unsupported` where it must be the ring.
  private static func ringObstacle(_ options: MountOptions, _ path: FilePath) throws(SpoolFSError) -> String? {
    guard options.transport != .device, let obstacle = RingSupport.obstacle() else { return nil }
    if options.transport == .auto { return obstacle }
    throw SpoolFSError(.unsupported, operation: "mount", path: path, message: "no ring transport: \(obstacle)")
  }

  private static func connect(
    _ files: FileSystem, at path: FilePath, _ options: MountOptions, ringObstacle: String?
  ) throws(SpoolFSError) -> (Session, (major: Int, minor: Int), GuardianSlot) {
    let checks = geteuid() != 0 || options.allowOther
    let mounted = try MountPoint.mount(.init(options: options, checksPermissions: checks), at: path)
    let guardian = GuardianSlot(mounted.guardian)
    let session = Session(
      files, device: mounted.device, cache: options.cache, flags: options.flags, responder: options.responder)
    session.ringObstacle = ringObstacle
    do throws(Errno) {
      // From here on the kernel's stamps and ours are seen side by side.
      try KernelClock.shared.followKernel()
      try session.open(
        ringObstacle == nil ? options.transport : .device, maximumReaders: options.workers, ringFault: options.ringFault
      )
      guard let entry = try MountTable.top(at: path) else { throw .noSuchFileOrDirectory }
      files.store.setCachedAbove(options.cache != .none)
      files.store.reserveDescriptors(Self.reservedDescriptors)
      files.store.setDefersClosing(true)
      if geteuid() == 0 {
        let limit = DirtyLimit(treeSize: files.configuration.storage.dataLimit)
        BackingDevice.setLimits(major: entry.major, minor: entry.minor, dirtyBytes: limit.bytes)
      }
      session.space.start(
        dirtyLimit: BackingDevice.mayHoldDirty(major: entry.major, minor: entry.minor),
        holdsWrites: session.negotiation.kernelHoldsData)
      return (session, (entry.major, entry.minor), guardian)
    } catch {
      // Nothing half-mounted stays.
      try? MountPoint.unmount(path, lazily: true)
      guardian.dismiss()
      let obstacle = options.transport == .ring ? session.ringObstacle : nil
      throw SpoolFSError(
        .mountRefused, operation: "mount", path: path, errno: error,
        message: obstacle.map { "no ring transport: \($0)" } ?? "no connection to the kernel: \(error)")
    }
  }
}

extension FileSystem {
  /// Mounts the tree at a directory, for other programs to see.
  ///
  /// Root mounts directly; for other users the helper `fusermount3` does it. The mount is private to the user who mounts,
  /// unless `options.allowOther`. Changes made in this process are seen through the mount before the call that made them
  /// returns; for the other direction see `MountOptions.Cache`.
  ///
  ///     let files = try FileSystem()
  ///     let mount = try files.mount(at: "/tmp/scratch")
  ///     // … programs use /tmp/scratch …
  ///     try mount.unmount()
  ///
  /// - Parameter path: an existing, empty directory. Its path should be short: unix sockets fail from 108 bytes on.
  /// - Returns: the mount, ready for use. It is unmounted when dropped.
  /// - Throws: `.notFound`, `.notADirectory`, `.directoryNotEmpty`, `.deadMount`, `.alreadyMounted`, `.deviceMissing`,
  ///   `.devicePermission`, `.permissionDenied`, `.helperMissing`, `.mountRefused`.
  public func mount(at path: FilePath, options: MountOptions = MountOptions()) throws(SpoolFSError) -> Mount {
    try Mount(self, at: path, options: options)
  }
}

/// The helper that unmounts when this process dies, let go once.
private final class GuardianSlot: @unchecked Sendable {
  // @unchecked: `lock` protects the variable.
  private let lock = Lock()
  private var guardian: Fusermount.Guardian?

  init(_ guardian: Fusermount.Guardian?) { self.guardian = guardian }

  func dismiss() {
    let last = lock.withLock {
      defer { guardian = nil }
      return guardian
    }
    last?.dismiss()
  }
}

/// Which trees are mounted. The kernel's counts of lookups are kept in the tree, so it has room for one mount.
enum MountedFileSystems {
  private final class Registry: @unchecked Sendable {
    // @unchecked: `lock` protects the variable.
    let lock = Lock()
    var claimed: Set<ObjectIdentifier> = []
  }

  private static let registry = Registry()

  static func claim(_ files: FileSystem) -> Bool {
    registry.lock.withLock { registry.claimed.insert(ObjectIdentifier(files)).inserted }
  }

  static func release(_ files: FileSystem) {
    files.store.setCachedAbove(false)
    files.store.reserveDescriptors(0)
    files.store.setDefersClosing(false)
    registry.lock.withLock { _ = registry.claimed.remove(ObjectIdentifier(files)) }
  }
}
