internal import Glibc
internal import SpoolFS
internal import SystemPackage

/// A fresh tree and its mount, served by threads of this process.
struct Server: Sendable {
  /// The mount as the kernel knows it.
  let entry: MountEntry
  private let mount: Mount

  init(_ settings: Settings, at mountPoint: FilePath) throws(CommandFailure) {
    SmallFileMemory.prepare()
    let files: FileSystem
    do {
      files = try FileSystem(settings.tree)
    } catch {
      let directory = settings.spillDirectory.map { " \($0)" } ?? ""
      throw CommandFailure(.spillDirectory, "cannot use the spill directory\(directory)", error)
    }
    do {
      mount = try files.mount(at: mountPoint, options: settings.mount)
    } catch {
      throw CommandFailure(error)
    }
    guard let entry = try? MountTable.top(at: mount.path) else {
      throw CommandFailure(.system, "\(mountPoint) was unmounted at once")
    }
    self.entry = entry
  }

  /// Why requests do not come over a ring where they might, in one line.
  var ringObstacle: String? { mount.ringObstacle.map { "serving over /dev/fuse, since \($0)" } }

  /// - Throws: `.busy` when the tree is in use and `lazily` is false. It is no error if it is unmounted already.
  func unmount(lazily: Bool) throws(CommandFailure) {
    do {
      try mount.unmount(lazily: lazily)
    } catch {
      throw CommandFailure(error)
    }
  }

  /// Returns when the kernel has let go of the tree, whoever unmounted it.
  func waitUntilUnmounted() { mount.waitUntilUnmounted() }
}
