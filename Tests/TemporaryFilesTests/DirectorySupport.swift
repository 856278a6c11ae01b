// What the tests of names and directories share.

import CSpoolSystem
import Glibc
import SystemPackage
import Testing

@testable import TemporaryFiles

/// Runs `body` with an empty directory, which must be empty again afterwards: nothing may be left behind.
func withEmptyDirectory<Result>(in parent: String = "/tmp", _ body: (FilePath) throws -> Result) throws -> Result {
  var template = Array("\(parent)/directories-XXXXXX".utf8CString)
  try #require(mkdtemp(&template) != nil)
  let directory = FilePath(platformString: template)
  defer {
    #expect(entries(of: directory) == [], "left behind in \(directory)")
    if rmdir(directory.string) != 0, let identity = try? FileIdentity(at: directory) {
      _ = try? TreeRemoval.remove(directory, identity)
    }
  }
  return try body(directory)
}

/// For tests of many thousand operations, which a disk would make slow.
let placeInMemory = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp"

/// The names in a directory, sorted; nil where there is none.
func entries(of directory: FilePath) -> [String]? {
  guard let stream = directory.withPlatformString({ opendir($0) }) else { return nil }
  defer { closedir(stream) }
  var names: [String] = []
  while let entry = readdir(stream) {
    let name = withUnsafePointer(to: &entry.pointee.d_name) {
      String(cString: UnsafeRawPointer($0).assumingMemoryBound(to: CChar.self))
    }
    if name != ".", name != ".." { names.append(name) }
  }
  return names.sorted()
}

/// The permission bits of what is under a path, links not followed; nil where nothing is.
func mode(of path: FilePath) -> mode_t? {
  var status = stat()
  guard path.withPlatformString({ lstat($0, &status) }) == 0 else { return nil }
  return status.st_mode & 0o7777
}

func exists(_ path: FilePath) -> Bool { mode(of: path) != nil }

func makeFile(_ path: FilePath) {
  let file = path.withPlatformString { creat($0, 0o600) }
  #expect(file >= 0, "\(path): \(Errno(rawValue: errno))")
  close(file)
}

func makeDirectory(_ path: FilePath) {
  #expect(path.withPlatformString { mkdir($0, 0o700) } == 0, "\(path): \(Errno(rawValue: errno))")
}

/// Some directories and files in a directory.
func fill(_ directory: FilePath, depth: Int = 1, width: Int = 2) {
  for index in 0..<width {
    makeFile(directory.appending("file\(index)"))
    guard depth > 0 else { continue }
    makeDirectory(directory.appending("directory\(index)"))
    fill(directory.appending("directory\(index)"), depth: depth - 1, width: width)
  }
}

/// The program that tests of this target run in another process.
enum TestProgram {
  static let path: FilePath = {
    var own = [CChar](repeating: 0, count: Int(PATH_MAX))
    let length = readlink("/proc/self/exe", &own, own.count - 1)
    precondition(length > 0)
    return FilePath(platformString: own).removingLastComponent().appending("TemporaryFilesTestProgram")
  }()

  /// Whether we may become a user without privileges who can reach the program.
  static let canRunAsNobody =
    getuid() == 0
    && system("setpriv --reuid=65534 --regid=65534 --clear-groups test -x '\(path)' 2>/dev/null") == 0

  static let nobody = "setpriv --reuid=65534 --regid=65534 --clear-groups"

  /// Runs it, after `wrapper` and with what it prints; the status is that of waitpid(2).
  static func run(_ what: String, in directory: FilePath, wrapper: String = "") throws -> (
    output: String, status: Int32
  ) {
    let pipe = try #require(popen("exec \(wrapper) '\(path)' \(what) '\(directory)' 2>&1", "r"))
    var output: [UInt8] = []
    while case let byte = fgetc(pipe), byte != EOF { output.append(UInt8(byte)) }
    return (String(decoding: output, as: UTF8.self), pclose(pipe))
  }
}
