import CHostCalls
import Glibc
import SystemPackage
import TemporaryFiles

/// What tests of TemporaryFiles need another process for: how it ends, and as whom it runs.
///
/// The first argument says what to do, the second one in which directory.
@main
enum TemporaryFilesTestProgram {
  static func main() async throws {
    let arguments = CommandLine.arguments
    guard arguments.count == 3 else { fatalError("usage: \(arguments[0]) WHAT DIRECTORY") }
    let place = FilePath(arguments[2])
    switch arguments[1] {
    case "exit": try exitInTheMiddle(place)
    case "exit-in-task": try await exitInATask(place)
    case "fork": try forkInTheMiddle(place)
    case "fork-names": try makeNamesInBoth(place)
    case "kill": try killInTheMiddle(place)
    case "modes": try removeAllModes(place)
    case "persist": try PersistProgram.run(place)
    case "persist-without-proc": try PersistProgram.runWithoutProc(place)
    case "location": print(try TemporaryLocation.directory)
    case "spill": try printSpillDirectory()
    default: fatalError("unknown: \(arguments[1])")
    }
  }

  /// Prints where the file is that a spooled file continues in.
  private static func printSpillDirectory() throws {
    var file = try SpooledTemporaryFile()
    var path = [CChar](repeating: 0, count: Int(PATH_MAX))
    let count = readlink("/proc/self/fd/\(try file.fileDescriptor().rawValue)", &path, path.count - 1)
    print(String(decoding: path.prefix(max(0, count)).map(UInt8.init(bitPattern:)), as: UTF8.self))
  }

  /// Leaves values alive when it ends, in all the ways a directory can be meant to.
  private static func exitInTheMiddle(_ place: FilePath) throws {
    var removed = try TemporaryDirectory(in: place, prefix: "removed-")
    var outer = try TemporaryDirectory(in: place, prefix: "outer-")
    let inner = try TemporaryDirectory(in: outer.path)
    fill(outer.path)
    fill(inner.path)
    var kept = try TemporaryDirectory(in: place, prefix: "kept-")
    _ = try kept.keep()
    let never = try TemporaryDirectory(in: place, prefix: "never-", cleanup: .never)
    // Changed one's mind twice.
    outer.cleanupPolicy = .never
    outer.cleanupPolicy = .onScopeExit
    try removed.cleanup()
    let gone = try TemporaryDirectory(in: place, prefix: "gone-")
    rmdir(gone.path.string)
    // Another file keeps the inode from being given away again.
    mkdir(place.appending("placeholder").string, 0o700)
    mkdir(gone.path.string, 0o700)
    chdir("/")
    end(access(inner.path.string, F_OK) == 0 && access(never.path.string, F_OK) == 0 ? 3 : 4)
  }

  private static func exitInATask(_ place: FilePath) async throws {
    try await withTemporaryDirectory(in: place, prefix: "task-") { directory in
      fill(directory.path)
      await Task.yield()
      end(3)
    }
  }

  /// The child ends by exit(3) with a value of its parent's, one of its own, and a dropped one of its parent's.
  private static func forkInTheMiddle(_ place: FilePath) throws {
    let directory = try TemporaryDirectory(in: place, prefix: "parent-")
    let dropped = try TemporaryDirectory(in: place, prefix: "dropped-")
    let droppedPath = dropped.path
    fill(directory.path)
    let child = host_fork()
    if child == 0 {
      drop(dropped)
      let own = try TemporaryDirectory(in: place, prefix: "child-")
      fill(own.path)
      end(0)
      return
    }
    var status: Int32 = 0
    waitpid(child, &status, 0)
    let isThere = access(directory.path.appending("file").string, F_OK) == 0 && access(droppedPath.string, F_OK) == 0
    print(status == 0 && isThere ? "kept" : "removed")
    drop(dropped)
    end(0)
  }

  /// Parent and child make files in directories of their own, after the parent has made one.
  private static func makeNamesInBoth(_ place: FilePath) throws {
    for name in ["before", "parent", "child"] { mkdir(place.appending(name).string, 0o700) }
    try makeNames(in: place.appending("before"))
    let child = host_fork()
    try makeNames(in: place.appending(child == 0 ? "child" : "parent"))
    if child == 0 { return end(0) }
    var status: Int32 = 0
    waitpid(child, &status, 0)
    end(status == 0 ? 0 : 1)
  }

  private static func makeNames(in directory: FilePath) throws {
    for _ in 0..<8 { try makeTemporaryFile(in: directory).descriptor.close() }
  }

  /// exit(3) of which the compiler does not know that it does not return: values that are not used after it would be
  /// dropped before it.
  @inline(never) private static func end(_ status: Int32) { exit(status) }

  private static func drop(_ directory: consuming TemporaryDirectory) {}

  private static func killInTheMiddle(_ place: FilePath) throws {
    let directory = try TemporaryDirectory(in: place, prefix: "killed-")
    fill(directory.path)
    kill(getpid(), SIGKILL)
  }

  /// Everything in a directory has one mode, for each there is: what a user without privileges has to get past. Prints
  /// the modes that something was left of.
  private static func removeAllModes(_ place: FilePath) throws {
    for mode in mode_t(0)...7 {
      var directory = try TemporaryDirectory(in: place)
      let target = place.appending("target")
      try fill(directory.path, depth: 3)
      symlink(target.string, directory.path.appending("link").string)
      fill(target)
      chmod(target.appending("file").string, mode << 6)
      chmod(target.string, mode << 6)
      restrict(directory.path, mode << 6, depth: 3)
      do { try directory.cleanup() } catch { print(mode, error) }
      if !directory.isRemoved || access(directory.path.string, F_OK) == 0 { print(mode, "left") }
      var status = stat()
      if stat(target.string, &status) != 0 || status.st_mode & 0o777 != mode << 6 { print(mode, "followed") }
      chmod(target.string, 0o700)
      if stat(target.appending("file").string, &status) != 0 || status.st_mode & 0o777 != mode << 6 {
        print(mode, "followed further")
      }
    }
    print("done")
  }

  private static func fill(_ directory: FilePath, depth: Int) throws {
    fill(directory)
    guard depth > 0 else { return }
    for name in ["one", "two"] {
      mkdir(directory.appending(name).string, 0o700)
      try fill(directory.appending(name), depth: depth - 1)
    }
  }

  private static func restrict(_ directory: FilePath, _ mode: mode_t, depth: Int) {
    if depth > 0 { for name in ["one", "two"] { restrict(directory.appending(name), mode, depth: depth - 1) } }
    for name in ["sub/file", "sub", "file", ""] { chmod(directory.appending(name).string, mode) }
  }

  private static func fill(_ directory: FilePath) {
    mkdir(directory.string, 0o700)
    mkdir(directory.appending("sub").string, 0o700)
    for file in ["file", "sub/file"] { close(creat(directory.appending(file).string, 0o600)) }
  }
}
