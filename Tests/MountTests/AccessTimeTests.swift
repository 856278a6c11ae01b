import CHostCalls
import CSpoolSystem
import Foundation
import SystemPackage
import Testing

@testable import SpoolFS

extension MountSuites {
  @Suite(.serialized) struct AccessTimeTests {
    /// How a filesystem is mounted.
    struct Case: Sendable, CustomTestStringConvertible {
      var testDescription: String
      var flags: MountOptions.Flags

      static let all = [
        Case(testDescription: "relatime", flags: []), Case(testDescription: "noatime", flags: .noAccessTimes),
        Case(testDescription: "nodiratime", flags: .noDirectoryAccessTimes),
        Case(testDescription: "strictatime", flags: .strictAccessTimes),
        Case(testDescription: "noatime,strictatime", flags: [.noAccessTimes, .strictAccessTimes]),
        Case(testDescription: "nodiratime,strictatime", flags: [.noDirectoryAccessTimes, .strictAccessTimes]),
      ]
    }

    /// Whether `access` moves the access time of `path`.
    private static func moves(_ path: String, _ access: () throws -> Void) throws -> Bool {
      let before = try Host.status(path).accessed
      usleep(15_000)
      try access()
      return try Host.status(path).accessed != before
    }

    private static func read(_ path: String, _ flags: Int32 = 0) throws {
      _ = try HostFile(path, O_RDONLY | flags).read(10)
    }

    /// What moves access times in a directory, one line for each.
    private static func movingAccesses(in directory: String) throws -> [String] {
      let (file, link, list) = (directory + "/f", directory + "/l", directory + "/d")
      try Host.create(file, pattern(5000))
      try Host.symlink("f", link)
      try Host.makeDirectory(list)
      try Host.create(list + "/g")
      var moving: [String] = []
      func look(_ what: String, _ path: String, _ access: () throws -> Void) throws {
        if try moves(path, access) { moving.append(what) }
      }
      try look("read with O_NOATIME", file) { try read(file, spool_o_no_access_time) }
      try look("read", file) { try read(file) }
      try look("read again", file) { try read(file) }
      try look("write", file) { try HostFile(file).write([1, 2], at: 100) }
      try look("read after a write", file) { try read(file) }
      let second: Int64 = 1_000_000_000
      let now = Int64(time(nil)) * second
      usleep(15_000)
      try check(host_set_times(file, now + 100 * second, now))
      try look("read of what is accessed in future", file) { try read(file) }
      try check(host_set_times(file, now - 90_000 * second, now - 100_000 * second))
      try look("read after a day", file) { try read(file) }
      try look("copy_file_range", file) {
        try check(host_set_times(file, now - 90_000 * second, now))
        let target = try HostFile(directory + "/copy", O_CREAT | O_RDWR)
        _ = try HostFile(file, O_RDONLY).copy(from: 0, to: target, at: 0, count: 100)
      }
      try look("readlink", link) { _ = try Host.readlink(link) }
      try look("list with O_NOATIME", list) {
        let stream = try #require(fdopendir(Int32(host_open(list, O_RDONLY | O_DIRECTORY | spool_o_no_access_time, 0))))
        while readdir(stream) != nil {}
        closedir(stream)
        // Listed from the cache, it would not move at all.
        try Host.create(list + "/h")
      }
      try look("list", list) { _ = try Host.names(list) }
      try look("stat", file) { _ = try Host.status(file) }
      return moving
    }

    @Test(.enabled(if: geteuid() == 0), arguments: Case.all)
    func withoutACacheTheyMoveAsOnTmpfs(_ test: Case) async throws {
      try await withMount(options: .init(cache: .none, flags: test.flags)) { tree in
        var template = Array("/tmp/spoolfs-access-XXXXXX".utf8CString)
        let path = try #require(mkdtemp(&template).map { String(cString: $0) })
        defer { rmdir(path) }
        try check(host_mount_tmpfs_with(path, test.flags.rawValue))
        defer { _ = host_unmount(path) }
        #expect(try Self.movingAccesses(in: tree.path) == Self.movingAccesses(in: path))
      }
    }

    /// Where the kernel caches, the first read is the one that is asked for.
    @Test(arguments: cacheModes) func programMayLeaveThemAlone(_ cache: MountOptions.Cache) async throws {
      try await withMount(options: .init(cache: cache)) { tree in
        // Made in this process, so that the kernel has none of the bytes.
        for name in ["f", "g"] { try tree.files.write(pattern(9000), to: FilePath(name)) }
        #expect(try !Self.moves(tree("f")) { try Self.read(tree("f"), spool_o_no_access_time) })
        #expect(try Self.moves(tree("g")) { try Self.read(tree("g")) })
      }
    }

    /// The kernel reads the page that is written in part.
    @Test(arguments: cacheModes) func writingMovesNoAccessTime(_ cache: MountOptions.Cache) async throws {
      try await withMount(options: .init(cache: cache)) { tree in
        try tree.files.write(pattern(9000), to: "f")
        let moved = try Self.moves(tree("f")) { try HostFile(tree("f"), O_WRONLY).write([1], at: 5000) }
        #expect(!moved)
        #expect(try tree.files.contents(of: "f")[4999...5000] == [pattern(9000)[4999], 1])
      }
    }

    @Test(arguments: cacheModes) func theyStayOnAReadOnlyMount(_ cache: MountOptions.Cache) async throws {
      let configuration = FileSystem.Configuration()
      try await withMount(configuration, options: .init(cache: cache, flags: .readOnly)) { tree in
        try tree.files.write(pattern(100), to: "f")
        #expect(try !Self.moves(tree("f")) { try Self.read(tree("f")) })
        #expect(try !Self.moves(tree.path) { _ = try Host.names(tree.path) })
      }
    }
  }
}
