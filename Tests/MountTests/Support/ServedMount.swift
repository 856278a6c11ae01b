import Foundation
import SpoolStorage
import SystemPackage

@testable import SpoolFS

/// A mount served by another process, for tests that map files.
///
/// While it sets up or takes down a mapping, the kernel holds the lock of the process's address space and may wait for
/// the mount: a server in the same process that needs memory just then waits for that lock, for ever.
final class ServedMount: Sendable {
  let path: String
  private let server: Process

  /// - Parameter wrapper: a program and arguments that runs the server in its own place, such as setpriv(1).
  init(
    _ storage: SpoolConfiguration = .init(), cache: MountOptions.Cache, transport: MountOptions.Transport = .device,
    wrapper: [String] = []
  ) throws {
    path = try MountedTree.makeMountPoint()
    server = Process()
    let program = URL(fileURLWithPath: CommandLine.arguments[0]).deletingLastPathComponent()
      .appendingPathComponent("MountTestServer")
    let command = wrapper + [program.path]
    server.executableURL = URL(fileURLWithPath: command[0])
    let threshold =
      switch storage.threshold {
      case .bytes(let bytes): String(bytes)
      default: "unlimited"
      }
    server.arguments =
      command.dropFirst() + [
        path, cache.rawValue, threshold, transport.rawValue,
      ] + [storage.memoryBudget, storage.sizeLimit, storage.spillCapacity].map { $0.map { String($0) } ?? "default" }
    let (input, output) = (Pipe(), Pipe())
    server.standardInput = input
    server.standardOutput = output
    try server.run()
    guard output.fileHandleForReading.availableData.starts(with: "mounted".utf8) else {
      server.waitUntilExit()
      rmdir(path)
      throw Errno.ioError
    }
  }

  deinit { end() }

  /// The one that serves.
  var process: Int32 { server.processIdentifier }

  func end() {
    (server.standardInput as? Pipe)?.fileHandleForWriting.closeFile()
    server.waitUntilExit()
    // It is there still where the server was killed.
    if rmdir(path) != 0, errno == EBUSY, (try? MountPoint.unmount(FilePath(path), lazily: true)) != nil { rmdir(path) }
  }

  /// Of the one that served, after `end`; a signal's number where it was killed.
  var exitStatus: Int32 { server.terminationStatus }

  /// SIGKILL: the mount is dead then.
  func kill() {
    Foundation.kill(server.processIdentifier, SIGKILL)
    server.waitUntilExit()
  }

  /// The path of `name` in the mount.
  func callAsFunction(_ name: String) -> String { path + "/" + name }
}

/// Runs `body` on a thread of its own with a fresh mount of another process.
func withServedMount(
  _ storage: SpoolConfiguration = .init(), cache: MountOptions.Cache,
  _ body: @escaping @Sendable (ServedMount) throws -> Void
) async throws {
  try await onThread {
    let mount = try ServedMount(storage, cache: cache)
    defer { mount.end() }
    try body(mount)
  }
}
