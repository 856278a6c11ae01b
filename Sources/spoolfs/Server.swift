internal import Glibc
internal import SpoolFS
internal import SpoolStorage
internal import SystemPackage

/// A fresh tree and its mount, served by threads of this process.
struct Server: Sendable {
  /// The mount as the kernel knows it.
  let entry: MountEntry
  private let mount: Mount
  /// For what takes the mount away, whatever else has used all of them by then.
  private let spare = SpareDescriptors()

  init(_ settings: Settings, at mountPoint: FilePath) throws(CommandFailure) {
    SmallFileMemory.prepare()
    MemoryProtection.hide()
    if settings.staysOutOfSwap { try MemoryProtection.lock(settings) }
    let files: FileSystem
    do {
      files = try FileSystem(settings.tree)
    } catch {
      let directory = settings.spillDirectory.map { " \($0.escaped)" } ?? ""
      throw CommandFailure(.spillDirectory, "cannot use the spill directory\(directory)", error)
    }
    do {
      mount = try files.mount(at: mountPoint, options: settings.mount)
    } catch {
      throw CommandFailure(error)
    }
    guard let entry = try? MountTable.top(at: mount.path) else {
      throw CommandFailure(.system, "\(mountPoint.escaped) was unmounted at once")
    }
    self.entry = entry
  }

  /// Why requests do not come over a ring where they might, in one line.
  var ringObstacle: String? { mount.ringObstacle.map { "serving over /dev/fuse, since \($0)" } }

  /// What has taken the tree away from its place; nil while it is there.
  var loss: String? {
    spare.release()
    if let mounts = try? MountTable.entries(),
      !mounts.contains(where: { $0.path == entry.path && $0.isSameDevice(as: entry) })
    {
      return "was unmounted"
    }
    return mount.isConnected ? nil : "has lost its connection to the kernel (it was aborted)"
  }

  /// - Throws: `.busy` when the tree is in use and `lazily` is false. It is no error if it is unmounted already.
  func unmount(lazily: Bool) throws(CommandFailure) {
    spare.release()
    do {
      try mount.unmount(lazily: lazily)
    } catch {
      throw CommandFailure(error)
    }
  }

  /// Returns when the kernel has let go of the tree, whoever unmounted it.
  func waitUntilUnmounted() { mount.waitUntilUnmounted() }
}

/// Descriptors that are open for nothing, until something that must not fail needs them.
private final class SpareDescriptors: @unchecked Sendable {
  // @unchecked: `lock` protects the variable.
  private static let count = 8

  private let lock = Lock()
  private var descriptors = (0..<count).compactMap { _ in try? Spawn.openNull() }

  deinit { release() }

  func release() {
    lock.withLock {
      for descriptor in descriptors { try? descriptor.close() }
      descriptors = []
    }
  }
}
