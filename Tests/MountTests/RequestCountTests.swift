import Foundation
import SystemPackage
import Testing

@testable import SpoolFS

extension MountSuites {
  /// How many synchronous requests an operation costs: the table of `docs/design.md`. One request more is a regression.
  @Suite(.serialized, .kernelRing) struct RequestCountTests {
    /// A way to mount, and how its counts differ from the cheapest.
    struct Mode: Sendable, CustomTestStringConvertible {
      var testDescription: String
      var options: MountOptions
      var checksPermissions: Bool

      static let all: [Mode] = Way.all.flatMap { way in
        [false, true].map { checks in
          // As root, it is the access of others that turns the kernel's checks on.
          var options = way.options
          options.allowOther = checks
          return Mode(
            testDescription: way.testDescription + (checks ? " with permission checks" : ""), options: options,
            checksPermissions: checks)
        }
      }

      /// What the kernel asks before a change of a directory, if it checks permissions: each change has made what it
      /// knows of the directory old.
      func directoryCheck(_ count: UInt64 = 1) -> [String: UInt64] { checksPermissions ? ["GETATTR": count] : [:] }

      /// Under a writeback cache the kernel stamps times and sends them when it closes or drops an inode.
      var flushedTimes: [String: UInt64] { options.cache == .writeback ? ["SETATTR": 1] : [:] }

      /// Lets the kernel's coarse clock move on, so that it does have a new time to send.
      func passTime() { if options.cache == .writeback { usleep(50_000) } }

      var isDirect: Bool { options.cache == .none }

      /// What open(2) with O_CREAT comes as.
      var creation: String { isDirect ? "CREATE" : "MKNOD" }
    }

    /// Requests that nobody waits for, or that depend on when the kernel forgets.
    private static let asynchronous: Set = ["FORGET", "BATCH_FORGET", "RELEASE", "INIT", "NOTIFY_REPLY"]

    private func requests(_ tree: MountedTree, _ body: () throws -> Void) rethrows -> [String: UInt64] {
      let before = tree.mount.statistics.requests
      try body()
      return tree.mount.statistics.requests
        .map { ($0.key, $0.value - before[$0.key, default: 0]) }
        .filter { $0.1 > 0 && !Self.asynchronous.contains($0.0) }
        .reduce(into: [:]) { $0[$1.0] = $1.1 }
    }

    /// Does everything once: the kernel learns what is not served (ENOSYS) and what the root looks like.
    private func warmUp(_ tree: MountedTree) throws {
      try Host.create(tree("warm"), [1])
      _ = try Host.contents(tree("warm"))
      let file = try HostFile(tree("warm"))
      try file.sync()
      try Host.makeDirectory(tree("d"))
      _ = try Host.names(tree.path)
      _ = access(tree("warm"), R_OK)
      chown(tree("warm"), geteuid(), getegid())
      try Host.rename(tree("warm"), tree("warm2"))
      try Host.unlink(tree("warm2"))
      try Host.removeDirectory(tree("d"))
      _ = try Host.status(tree.path)
    }

    private func withWarmMount(_ mode: Mode, _ body: @escaping @Sendable (MountedTree) throws -> Void) async throws {
      try await withMount(options: mode.options) { tree in
        try warmUp(tree)
        try body(tree)
      }
    }

    @Test(arguments: Mode.all) func createWriteClose(_ mode: Mode) async throws {
      try await withWarmMount(mode) { tree in
        try Host.create(tree("previous"))
        let seen = try requests(tree) {
          let file = try HostFile(tree("a"), O_CREAT | O_EXCL | O_RDWR)
          mode.passTime()
          for index in 0..<5 { try file.append(pattern(100, seed: index)) }
        }
        var expected: [String: UInt64] = [
          "LOOKUP": 1, mode.creation: 1, "WRITE": mode.options.cache == .writeback ? 1 : 5,
        ]
        expected.add(mode.directoryCheck())
        expected.add(mode.flushedTimes)
        #expect(seen == expected)
      }
    }

    /// Also before the kernel knows from an OPEN that nobody counts open files.
    @Test(arguments: Mode.all) func closingACreatedFileIsARequestOnlyWhereOpeningIs(_ mode: Mode) async throws {
      try await withMount(options: mode.options) { tree in
        for name in ["a", "b", "c"] { try Host.create(tree(name), [1]) }
        let closed = { tree.mount.statistics.requests["RELEASE", default: 0] }
        if mode.isDirect {
          try eventually { closed() == 3 }
        } else {
          // RELEASE comes after close(2); what comes after it has come when this is answered.
          try Host.unlink(tree("a"))
          #expect(closed() == 0)
        }
      }
    }

    @Test(arguments: Mode.all) func changeOfOwnerAndMode(_ mode: Mode) async throws {
      try await withWarmMount(mode) { tree in
        try Host.create(tree("a"), [1])
        let seen = try requests(tree) {
          chown(tree("a"), geteuid(), getegid())
          try Host.changeMode(tree("a"), 0o640)
        }
        #expect(seen == ["SETATTR": 2].adding(mode.directoryCheck()))
      }
    }

    @Test(arguments: Mode.all) func openReadClose(_ mode: Mode) async throws {
      try await withWarmMount(mode) { tree in
        try Host.create(tree("a"), pattern(10_000))
        _ = try Host.contents(tree("a"))
        _ = try Host.status(tree("a"))
        let seen = try requests(tree) {
          let file = try HostFile(tree("a"), O_RDONLY)
          #expect(try file.read(10_000) == pattern(10_000))
        }
        #expect(seen == (mode.isDirect ? ["OPEN": 1, "READ": 1] : [:]))
      }
    }

    @Test(arguments: Mode.all) func unlink(_ mode: Mode) async throws {
      try await withWarmMount(mode) { tree in
        try Host.create(tree("a"), [1])
        mode.passTime()
        let seen = try requests(tree) { try Host.unlink(tree("a")) }
        var expected: [String: UInt64] = ["UNLINK": 1]
        expected.add(mode.directoryCheck())
        expected.add(mode.flushedTimes)
        #expect(seen == expected)
      }
    }

    @Test(arguments: Mode.all) func renameOfFile(_ mode: Mode) async throws {
      try await withWarmMount(mode) { tree in
        try Host.create(tree("a"), [1])
        mode.passTime()
        let seen = try requests(tree) { try Host.rename(tree("a"), tree("b")) }
        var expected: [String: UInt64] = ["LOOKUP": 1, "RENAME": 1]
        expected.add(mode.directoryCheck())
        expected.add(mode.flushedTimes)
        #expect(seen == expected)
      }
    }

    @Test(arguments: Mode.all) func makeAndRemoveDirectory(_ mode: Mode) async throws {
      try await withWarmMount(mode) { tree in
        try Host.create(tree("previous"))
        let making = try requests(tree) { try Host.makeDirectory(tree("d")) }
        #expect(making == ["LOOKUP": 1, "MKDIR": 1].adding(mode.directoryCheck()))
        let removing = try requests(tree) { try Host.removeDirectory(tree("d")) }
        #expect(removing == ["RMDIR": 1].adding(mode.directoryCheck()))
      }
    }

    @Test(arguments: Mode.all) func unnamedFile(_ mode: Mode) async throws {
      try await withWarmMount(mode) { tree in
        try Host.create(tree("previous"))
        _ = try HostFile(unnamedIn: tree.path)
        let seen = try requests(tree) { _ = try HostFile(unnamedIn: tree.path) }
        #expect(seen == ["TMPFILE": 1].adding(mode.directoryCheck()))
      }
    }

    @Test(arguments: Mode.all) func listAndStat(_ mode: Mode) async throws {
      try await withWarmMount(mode) { tree in
        let count = 240
        try Host.makeDirectory(tree("d"))
        // Made in this process, so that the kernel knows none of them.
        for index in 0..<count { try tree.files.write([UInt8](), to: FilePath("d/file-\(index)")) }
        // As `ls -l` does it, one after the other: that is how the kernel learns that attributes are wanted.
        func listAndStat() throws {
          let directory = try #require(opendir(tree("d")))
          defer { closedir(directory) }
          var seen = 0
          while let entry = readdir(directory) {
            let name = entry.pointee.name
            if name.hasPrefix(".") { continue }
            _ = try Host.status(tree("d/" + name))
            seen += 1
          }
          #expect(seen == count)
        }
        let cold = try requests(tree, listAndStat)
        // A page of the listing holds 24 entries; one more request finds the end.
        #expect(cold["READDIRPLUS", default: 0] <= UInt64(count / 24 + 2))
        // Of the directory itself, by opendir(3).
        #expect(cold["GETATTR", default: 0] <= 1 + mode.directoryCheck()["GETATTR", default: 0])
        #expect(Set(cold.keys).isSubset(of: ["READDIRPLUS", "GETATTR"]))
        // Reading the listing has moved the directory's access time.
        _ = try Host.status(tree("d"))
        let warm = try requests(tree, listAndStat)
        #expect(warm == [:])
      }
    }

    @Test(arguments: Mode.all) func readlinkAgain(_ mode: Mode) async throws {
      try await withWarmMount(mode) { tree in
        try Host.symlink("target", tree("l"))
        #expect(try Host.readlink(tree("l")) == "target")
        let seen = try requests(tree) { _ = try Host.readlink(tree("l")) }
        #expect(seen == [:])
      }
    }

    @Test(arguments: Mode.all) func absentNameAgain(_ mode: Mode) async throws {
      try await withWarmMount(mode) { tree in
        #expect(!Host.exists(tree("absent")))
        let seen = requests(tree) { #expect(!Host.exists(tree("absent"))) }
        #expect(seen == [:])
      }
    }

    @Test(arguments: Mode.all) func synchronize(_ mode: Mode) async throws {
      try await withWarmMount(mode) { tree in
        let file = try HostFile(tree("a"), O_CREAT | O_RDWR)
        mode.passTime()
        try file.write([1], at: 0)
        let seen = try requests(tree) { try file.sync() }
        #expect(seen == (mode.options.cache == .writeback ? ["WRITE": 1, "SETATTR": 1] : [:]).adding(["FSYNC": 1]))
        let again = try requests(tree) { try file.sync() }
        #expect(again == ["FSYNC": 1])
      }
    }

    /// Only who wants to know the birth time asks for more than is known.
    @Test(.enabled(if: asksForBirthTimes), arguments: Mode.all) func timeOfBirth(_ mode: Mode) async throws {
      try await withWarmMount(mode) { tree in
        try Host.create(tree("a"), [1])
        _ = try Host.status(tree("a"))
        let seen = try requests(tree) { _ = try birthTime(of: tree("a")) }
        #expect(seen == ["STATX": 1])
        let plain = try requests(tree) { _ = try Host.status(tree("a")) }
        #expect(plain == [:])
      }
    }

    /// Where the kernel checks no permissions, access(2) and chdir(2) are requests.
    @Test(.enabled(if: geteuid() == 0)) func rootIsToldWhatNobodyMayExecute() async throws {
      try await withWarmMount(Mode.all[0]) { tree in
        try Host.create(tree("a"))
        let seen = requests(tree) { #expect(access(tree("a"), R_OK | W_OK) == 0) }
        #expect(seen == ["ACCESS": 1])
        #expect(access(tree("a"), X_OK) == -1 && errno == EACCES)
        chmod(tree("a"), 0o001)
        #expect(access(tree("a"), X_OK) == 0)
        chmod(tree.path, 0)
        #expect(access(tree.path, R_OK | W_OK | X_OK) == 0)
      }
    }

    /// What `--lifetime close` costs: each open and close is a request.
    @Test func lifetimeCloseAddsOpen() async throws {
      let configuration = FileSystem.Configuration(lifetime: .close)
      try await withMount(configuration) { tree in
        let first = try HostFile(tree("a"), O_CREAT | O_RDWR)
        try first.write([1], at: 0)
        _ = try HostFile(tree("a"), O_RDONLY).read(1)
        let seen = try requests(tree) {
          let file = try HostFile(tree("a"), O_RDONLY)
          #expect(try file.read(1) == [1])
        }
        #expect(seen == ["OPEN": 1])
      }
    }
  }
}

extension [String: UInt64] {
  fileprivate mutating func add(_ other: [String: UInt64]) { merge(other, uniquingKeysWith: +) }

  fileprivate func adding(_ other: [String: UInt64]) -> [String: UInt64] { merging(other, uniquingKeysWith: +) }
}
