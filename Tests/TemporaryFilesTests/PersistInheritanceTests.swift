import CHostCalls
import CSpoolSystem
import Glibc
import SystemPackage
import Testing

@testable import TemporaryFiles

/// A file that becomes permanent is as one that is made there, however large it is and wherever it was before.
@Suite(.enabled(if: TestProgram.canRunAsNobody, "takes root")) struct PersistInheritanceTests {
  /// What the target's directory gives to its files.
  enum Directory: CaseIterable {
    case plain, group, accessList, groupAndAccessList

    var handsGroupDown: Bool { self == .group || self == .groupAndAccessList }
    var hasAccessList: Bool { self == .accessList || self == .groupAndAccessList }
  }

  private static let group: gid_t = 1234
  private static let setpriv = "setpriv --reuid=65534 --regid=65534"

  /// Root; a user who may give files to the directory's group; one who may not; one who sees no /proc.
  private static let users = ["", "\(setpriv) --groups=\(group)", "\(setpriv) --clear-groups"]

  @Test(arguments: Directory.allCases, ["/var/tmp", "/dev/shm"] as [FilePath])
  func itIsAsOneMadeThere(_ directory: Directory, place: FilePath) throws {
    try withPlace(directory, place) { path in
      for user in Self.users {
        let (output, status) = try TestProgram.run("persist", in: path, wrapper: user)
        #expect(status == 0 && output == "done\n", "\(user): \(output.prefix(2000))")
      }
      let (output, status) = try TestProgram.run("persist-without-proc", in: path, wrapper: "unshare --mount")
      #expect(status == 0 && output == "done\n", "without /proc: \(output.prefix(2000))")
    }
  }

  /// The file keeps group and permissions, and needs no copy where its owner may give it to the group.
  @Test func withoutCopyingAFailureChangesNothing() throws {
    let sandbox = try Sandbox()
    let target = try Sandbox()
    chown(target.path.string, 0, Self.group)
    chmod(target.path.string, 0o2777)
    var file = try NamedTemporaryFile(in: sandbox.path, permissions: [.ownerReadWrite, .groupRead])
    makeFile(target.path.appending("there"))
    failure(.alreadyExists) { () throws(TemporaryFileError) in
      try file.persist(to: target.path.appending("there"), replacing: false, permissions: .ownerRead, copying: false)
    }
    let found = status(of: file.path)
    #expect(found?.st_gid == getegid() && mode(of: file.path) == 0o640)
    try file.persist(to: target.path.appending("there"), copying: false)
    #expect(status(of: target.path.appending("there"))?.st_gid == Self.group)
    unlink(target.path.appending("there").string)
  }

  /// A group that was chosen stays where the directory gives none.
  @Test func aGroupOfItsOwnStays() throws {
    let sandbox = try Sandbox()
    var file = try NamedTemporaryFile(in: sandbox.path)
    chown(file.path.string, .max, Self.group)
    let target = sandbox.path.appending("target")
    try file.persist(to: target)
    #expect(status(of: target)?.st_gid == Self.group)
    unlink(target.string)
  }

  private func withPlace(_ directory: Directory, _ parent: FilePath, _ body: (FilePath) throws -> Void) throws {
    let (links, source, target) = (try Sandbox(), try Sandbox(), try Sandbox(in: parent))
    chmod(links.path.string, 0o755)
    chmod(source.path.string, 0o777)
    chown(target.path.string, 65534, directory.handsGroupDown ? Self.group : 65534)
    chmod(target.path.string, directory.handsGroupDown ? 0o2777 : 0o777)
    if directory.hasAccessList {
      let list = Self.accessList
      let answer = host_set_attribute(target.path.string, "system.posix_acl_default", list, list.count)
      try #require(answer == 0, "no access control lists on \(parent)")
    }
    for (name, path) in [("source", source.path), ("target", target.path)] {
      symlink(path.string, links.path.appending(name).string)
    }
    defer { for name in ["source", "target"] { unlink(links.path.appending(name).string) } }
    try body(links.path)
  }

  /// u::rwx, u:7:rwx, g::r-x, m::rwx, o::--- as acl(5) has it in the kernel: a version, then tag, permissions and id of
  /// each.
  private static let accessList: [UInt8] =
    [2, 0, 0, 0]
    + [(1, 7, UInt32.max), (2, 7, 7), (4, 5, UInt32.max), (0x10, 7, UInt32.max), (0x20, 0, UInt32.max)]
    .flatMap { (tag: UInt8, permissions: UInt8, id: UInt32) in
      [tag, 0, permissions, 0] + (0..<4).map { UInt8(truncatingIfNeeded: id >> ($0 * 8)) }
    }
}
