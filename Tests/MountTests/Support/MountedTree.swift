import Foundation
import Synchronization
import SystemPackage

@testable import SpoolFS
@testable import SpoolStorage

/// A tree mounted at a fresh directory, for one test.
final class MountedTree: Sendable {
  let files: FileSystem
  let mount: Mount
  let path: String

  private static let number = Atomic<Int>(0)

  init(_ configuration: FileSystem.Configuration = .init(), options: MountOptions = .init()) throws {
    path = try Self.makeMountPoint()
    do {
      files = try FileSystem(configuration)
      mount = try files.mount(at: FilePath(path), options: options)
    } catch {
      rmdir(path)
      throw error
    }
  }

  deinit { end() }

  /// Unmounts, by force where something is still open, and removes the directory.
  func end() {
    do { try mount.unmount() } catch { try? mount.unmount(lazily: true) }
    rmdir(path)
  }

  /// The path of `name` in the mount.
  func callAsFunction(_ name: String) -> String { path + "/" + name }

  /// An empty directory with a short path. What dead runs left behind is swept away first.
  static func makeMountPoint() throws -> String {
    sweep
    let path = "\(prefix)\(getpid())-\(number.wrappingAdd(1, ordering: .relaxed).newValue)"
    guard mkdir(path, 0o700) == 0 else { throw Errno(rawValue: errno) }
    return path
  }

  private static let prefix = "/tmp/spoolfs-test-"

  private static let sweep: Void = {
    for entry in (try? MountTable.spoolfsEntries()) ?? [] where entry.path.string.hasPrefix(prefix) {
      let process = entry.path.string.dropFirst(prefix.count).prefix { $0 != "-" }
      guard let process = pid_t(process), process != getpid(), kill(process, 0) != 0 else { continue }
      try? MountPoint.unmount(entry.path, lazily: true)
      rmdir(entry.path.string)
    }
  }()
}

/// Runs `body` on a thread of its own with a fresh mount.
func withMount(
  _ configuration: FileSystem.Configuration = .init(), options: MountOptions = .init(),
  _ body: @escaping @Sendable (MountedTree) throws -> Void
) async throws {
  try await onThread {
    let tree = try MountedTree(configuration, options: options)
    defer { tree.end() }
    try body(tree)
  }
}
