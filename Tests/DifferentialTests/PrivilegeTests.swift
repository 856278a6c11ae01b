import CHostCalls
import Glibc
import SystemPackage
import Testing

@testable import SpoolFS

/// When set-user and set-group bits go: every change of a file, by everybody, on a mount of ours and on a tmpfs.
@Suite("Set-user and set-group bits go where they go on tmpfs", .serialized, .enabled(if: geteuid() == 0, "takes root"))
struct PrivilegeTests {
  /// Runs `body` with a mount of ours and a tmpfs, and expects that it finds no differences.
  private func compare(
    _ cache: MountOptions.Cache, _ body: (_ tree: FileSystem, _ path: String, _ reference: String) throws -> [String]
  ) throws {
    let reference = try ReferenceTmpfs()
    var template = Array("/tmp/spoolfs-compared-XXXXXX".utf8CString)
    let path = try #require(mkdtemp(&template).map { String(cString: $0) })
    defer { rmdir(path) }
    let tree = try FileSystem(FileSystem.Configuration(rootMode: FilePermissions(rawValue: 0o755)))
    let mount = try tree.mount(at: FilePath(path), options: MountOptions(cache: cache, allowOther: true, flags: []))
    defer { try? mount.unmount(lazily: true) }
    let differences = try body(tree, path, reference.path)
    withExtendedLifetime(reference) {}
    try mount.unmount()
    #expect(differences.isEmpty, "\(differences.count): \(differences.prefix(60).joined(separator: "\n"))")
  }

  @Test(arguments: MountOptions.Cache.allCases) func everyChangeByEverybody(cache: MountOptions.Cache) throws {
    try compare(cache) { tree, path, reference in try changes(in: path, tree, besides: reference) }
  }

  /// By another process: one that sets up a mapping must not serve the mount.
  @Test(arguments: MountOptions.Cache.allCases) func storesToAMapping(cache: MountOptions.Cache) throws {
    let program = """
      import mmap, os, sys
      file = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
      os.write(file, b"x" * 8192); os.fchown(file, 1000, 1000); os.fchmod(file, int(sys.argv[2], 8))
      os.setgroups([]); os.setgid(int(sys.argv[3])); os.setuid(int(sys.argv[3]))
      with mmap.mmap(file, 0) as map:
        map[5] = 7
        map.flush()
      """
    try compare(cache) { _, path, reference in
      var differences: [String] = []
      for mode in ["6777", "2666", "4676"] {
        for user in [0, 1000, 1002] {
          let modes = [path, reference].map { directory in
            let file = directory + "/file"
            let status = system("python3 -c '\(program)' \(file) \(mode) \(user)")
            var found = host_stat()
            _ = host_stat(file, &found)
            _ = host_unlink(file)
            return "\(status) \(String(found.mode, radix: 8))"
          }
          if modes[0] != modes[1] { differences.append("\(mode) by \(user): \(modes[0]), tmpfs \(modes[1])") }
        }
      }
      return differences
    }
  }

  private func changes(in path: String, _ tree: FileSystem, besides reference: String) throws -> [String] {
    var differences: [String] = []
    try onThread {
      for change in Change.allCases {
        for caller in PrivilegedFile.callers {
          for mode in PrivilegedFile.modes {
            let file = PrivilegedFile(change: change, caller: caller, mode: mode)
            let expected = file.outcome(in: reference)
            let got = file.outcome(in: path, tree)
            if got != expected {
              differences.append("\(change) of \(String(mode, radix: 8)) by \(caller.name): \(got), tmpfs \(expected)")
            }
          }
        }
      }
    }
    return differences
  }
}

/// What is done to a file.
private enum Change: CaseIterable {
  case write, append, overwritePast, resize, resizeToSame, truncate, openTruncating
  case allocate, allocateKeepingSize, punchHole, zeroRange, allocateTooMuch, copyInto, copyNothing
  case changeNoOwner, giveToItsOwner, giveToItsGroup, giveToOwnGroup, changeMode, setTimes

  /// tmpfs has no FALLOC_FL_ZERO_RANGE; it is an allocation as any other.
  var onTmpfs: Change { self == .zeroRange ? .allocate : self }
}

/// A file of user 1000 and group 1000 with set-user or set-group bits, which somebody changes.
private struct PrivilegedFile {
  struct Caller {
    let name: String
    let user: UInt32
    let group: UInt32
    var supplementary: UInt32?
  }

  static let owner: UInt32 = 1000
  static let callers = [
    Caller(name: "root", user: 0, group: 0), Caller(name: "its owner", user: 1000, group: 1000),
    Caller(name: "its owner, not in its group", user: 1000, group: 1002),
    Caller(name: "its group", user: 1001, group: 1000),
    Caller(name: "its group, supplementary", user: 1001, group: 1002, supplementary: 1000),
    Caller(name: "others", user: 1002, group: 1002),
  ]
  /// Everybody may write; executable by the group or not.
  static let modes: [UInt32] = [0o4000, 0o2000, 0o6000, 0].flatMap { bits in [0o666, 0o676, 0o777].map { bits | $0 } }

  let change: Change
  let caller: Caller
  let mode: UInt32

  /// Error and mode afterwards: what stat(2) says, and where there is a tree, what that says.
  func outcome(in directory: String, _ tree: FileSystem? = nil) -> String {
    let (path, source) = (directory + "/file", directory + "/source")
    let file = Int32(host_open(path, O_RDWR | O_CREAT | O_EXCL, 0o600))
    let other = Int32(host_open(source, O_RDWR | O_CREAT | O_EXCL, 0o600))
    defer {
      for descriptor in [file, other] { _ = host_close(descriptor) }
      for name in [path, source] { _ = host_unlink(name) }
    }
    let bytes = [UInt8](repeating: 1, count: 10_000)
    for descriptor in [file, other] { _ = host_write(descriptor, bytes, bytes.count, 0) }
    _ = host_change_owner(path, Self.owner, Self.owner)
    _ = host_change_mode(path, mode)
    if let group = caller.supplementary {
      host_become_member(caller.user, caller.group, group)
    } else {
      host_become(caller.user, caller.group)
    }
    let answer = perform(tree == nil ? change.onTmpfs : change, path, file, other)
    host_become(0, 0)
    var found = host_stat()
    _ = host_stat(path, &found)
    var text = "\(min(answer, 0)) \(String(found.mode, radix: 8))"
    // The rule of chown(2) to nobody is another one there, in the answer alone.
    if change == .changeNoOwner { text = String(found.mode, radix: 8) }
    if let tree, let own = try? tree.resolve("file", followingLast: true, by: .local(user: 0, group: 0)) {
      let mode = tree.attributes(of: own).mode
      if mode != found.mode { text += " and in the tree \(String(mode, radix: 8))" }
    }
    return text
  }

  private func perform(_ change: Change, _ path: String, _ file: Int32, _ other: Int32) -> Int64 {
    let byte: [UInt8] = [7]
    switch change {
    case .write: return host_write(file, byte, 1, 3)
    case .append:
      let appending = host_open(path, O_WRONLY | O_APPEND, 0)
      defer { _ = host_close(Int32(appending)) }
      return appending < 0 ? appending : host_append(Int32(appending), byte, 1)
    case .overwritePast: return host_write(file, byte, 1, 100_000)
    case .resize: return host_resize(file, 5)
    case .resizeToSame: return host_resize(file, 10_000)
    case .truncate: return host_truncate(path, 20_000)
    case .openTruncating:
      let opened = host_open(path, O_WRONLY | O_TRUNC, 0)
      return opened < 0 ? opened : host_close(Int32(opened))
    case .allocate: return host_allocate(file, 0, 0, 50_000)
    case .allocateKeepingSize: return host_allocate(file, FALLOC_FL_KEEP_SIZE, 0, 50_000)
    case .punchHole: return host_allocate(file, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, 0, 4096)
    case .zeroRange: return host_allocate(file, FALLOC_FL_ZERO_RANGE, 0, 50_000)
    case .allocateTooMuch: return host_allocate(file, 0, .max - 1, 50_000)
    case .copyInto: return host_copy(other, 0, file, 0, 5000)
    case .copyNothing: return host_copy(other, 10_000, file, 0, 5000)
    case .changeNoOwner: return host_change_owner(path, .max, .max)
    case .giveToItsOwner: return host_change_owner(path, Self.owner, .max)
    case .giveToItsGroup: return host_change_owner(path, .max, Self.owner)
    case .giveToOwnGroup: return host_change_owner(path, .max, caller.group)
    case .changeMode: return host_change_mode(path, mode)
    case .setTimes: return host_set_times(path, .min, .min)
    }
  }
}

private let FALLOC_FL_KEEP_SIZE: Int32 = 1
private let FALLOC_FL_PUNCH_HOLE: Int32 = 2
private let FALLOC_FL_ZERO_RANGE: Int32 = 16
