import Foundation
import SpoolFS
import SpoolStorage
import SystemPackage

/// Serves a mount for a test that must not serve it itself: a process that maps files of its own mount can deadlock.
///
/// Arguments: mount point, cache mode, threshold in bytes or `unlimited`, transport; then in bytes or `default`: memory budget,
/// size limit, spill capacity.
/// Prints a line when it is mounted, and unmounts when its standard input ends.
@main
enum MountTestServer {
  static func main() throws {
    let arguments = CommandLine.arguments
    guard arguments.count == 8, let cache = MountOptions.Cache(rawValue: arguments[2]),
      let transport = MountOptions.Transport(rawValue: arguments[4])
    else {
      throw SpoolFSError(.invalidArgument, operation: "serve a test")
    }
    let files = try FileSystem(
      .init(
        storage: .init(
          threshold: Int64(arguments[3]).map { .bytes($0) } ?? .unlimited, memoryBudget: Int64(arguments[5]),
          spillCapacity: Int64(arguments[7]), sizeLimit: Int64(arguments[6]))))
    let mount = try files.mount(at: FilePath(arguments[1]), options: .init(cache: cache, transport: transport))
    FileHandle.standardOutput.write(Data("mounted\n".utf8))
    _ = FileHandle.standardInput.readDataToEndOfFile()
    do { try mount.unmount() } catch { try mount.unmount(lazily: true) }
  }
}
