import CHostCalls
import CSpoolSystem
import Foundation
import SystemPackage
import Testing

@testable import SpoolFS

extension MountSuites {
  /// Which times an operation moves, and that they stay where they are then.
  @Suite(.serialized) struct TimeChangeTests {
    /// What is done to the file "f" of 10,000 bytes, which is "g" too.
    enum Change: String, CaseIterable, Sendable {
      case nothing, open, write, append, writeNothing, writeDirectly, cut, cutNothing, cutToNothing, resize,
        resizeNothing
      case openTruncating, allocate, allocateKeepingSize, allocateWithin, punchHole, copyRange, copyNothing
      case changeMode, changeOwner, changeNoOwner, link, unlink, rename, setTimes, setTimesNow

      /// - Returns: what stays open.
      func apply(in directory: String) throws -> HostFile? {
        let path = directory + "/f"
        if let file = try applyToOpenFile(path) { return file }
        switch self {
        case .cut: try Host.truncate(path, 100)
        case .cutNothing: try Host.truncate(path, 10_000)
        case .cutToNothing: try Host.truncate(path, 0)
        case .changeMode: try Host.changeMode(path, 0o640)
        case .changeOwner: try Host.changeOwner(path, geteuid(), getegid())
        case .changeNoOwner: try Host.changeOwner(path, .max, .max)
        case .link: try Host.link(path, directory + "/h")
        case .unlink: try Host.unlink(directory + "/g")
        case .rename: try Host.rename(directory + "/g", directory + "/h")
        case .setTimes: try check(host_set_times(path, 1_000_000_001, 2_000_000_002))
        case .setTimesNow: try check(host_set_times(path, .min, .min))
        default: break
        }
        return nil
      }

      private func applyToOpenFile(_ path: String) throws -> HostFile? {
        switch self {
        case .open: return try HostFile(path)
        case .openTruncating: return try HostFile(path, O_RDWR | O_TRUNC)
        case .append:
          let file = try HostFile(path, O_WRONLY | O_APPEND)
          try file.append(pattern(100))
          return file
        case .writeDirectly: return try writeDirectly(path)
        case .write, .writeNothing, .resize, .resizeNothing, .allocate, .allocateKeepingSize, .allocateWithin,
          .punchHole,
          .copyRange, .copyNothing:
          let file = try HostFile(path)
          try apply(to: file)
          return file
        default: return nil
        }
      }

      private func apply(to file: HostFile) throws {
        switch self {
        case .write: try file.write(pattern(5000), at: 100)
        case .writeNothing: try file.write([], at: 100)
        case .resize: try file.resize(to: 20_000)
        case .resizeNothing: try file.resize(to: 10_000)
        case .allocate: try file.allocate(0, at: 0, count: 50_000)
        case .allocateKeepingSize: try file.allocate(1, at: 0, count: 50_000)
        case .allocateWithin: try file.allocate(0, at: 0, count: 5000)
        case .punchHole: try file.allocate(3, at: 0, count: 4096)
        case .copyRange: _ = try file.copy(from: 0, to: file, at: 20_000, count: 5000)
        case .copyNothing: _ = try file.copy(from: 10_000, to: file, at: 20_000, count: 5000)
        default: break
        }
      }

      private func writeDirectly(_ path: String) throws -> HostFile {
        let file = try HostFile(path, O_RDWR | spool_o_direct)
        let page = UnsafeMutableRawBufferPointer.allocate(byteCount: 4096, alignment: 4096)
        defer { page.deallocate() }
        page.initializeMemory(as: UInt8.self, repeating: 7)
        try check(host_write(file.descriptor, page.baseAddress, page.count, 4096))
        return file
      }
    }

    /// Lets the clock that files are stamped with go on.
    private static func passTime() { usleep(25_000) }

    /// The file's modification and change time.
    private static func times(_ path: String) throws -> [Int64] {
      let status = try Host.status(path)
      return [status.modified, status.changed]
    }

    /// Which times of "f" `change` moves, "m", "c", and what it leaves open.
    private static func moved(by change: Change, in directory: String) throws -> (times: String, file: HostFile?) {
      let path = directory + "/f"
      try Host.create(path, pattern(10_000))
      try Host.link(path, directory + "/g")
      passTime()
      let before = try times(path)
      let file = try change.apply(in: directory)
      let after = try times(path)
      return (zip(["m", "c"], zip(before, after)).map { $1.0 == $1.1 ? "" : $0 }.joined(), file)
    }

    /// A tmpfs of the machine, to compare with.
    private static func movedOnTmpfs(by change: Change) throws -> String {
      var template = Array("/dev/shm/spoolfs-times-XXXXXX".utf8CString)
      let directory = try #require(mkdtemp(&template).map { String(cString: $0) })
      defer { try? FileManager.default.removeItem(atPath: directory) }
      return try moved(by: change, in: directory).times
    }

    @Test(arguments: cacheModes, Change.allCases)
    func changeMovesTheTimesThatItMovesOnTmpfsAndTheyStay(_ cache: MountOptions.Cache, _ change: Change) async throws {
      try await withMount(options: .init(cache: cache)) { tree in
        var result = try Self.moved(by: change, in: tree.path)
        // With a write-back cache the kernel leaves the times where the size stays.
        let onTmpfs = try cache == .writeback && change == .cutNothing ? "" : Self.movedOnTmpfs(by: change)
        #expect(result.times == onTmpfs)
        let shown = try Self.times(tree("f"))
        Self.passTime()
        #expect(try Self.times(tree("f")) == shown, "while it is open")
        try Self.expectThatTimesStay(of: "f", at: shown, tree) { result.file = nil }
      }
    }

    /// The kernel has nothing to send where write(2) gave the file the times that it had already.
    @Test(arguments: cacheModes, [false, true])
    func writeInTheTickOfTheCreationMovesNothingLater(_ cache: MountOptions.Cache, beside neighbour: Bool) async throws
    {
      try await withMount(options: .init(cache: cache)) { tree in
        try StampingNeighbour.beside(neighbour) {
          for index in 0..<20 {
            let name = "f\(index)"
            var file: HostFile? = try HostFile(tree(name), O_CREAT | O_RDWR)
            try file?.append(pattern(100))
            if index % 4 == 1 { try file?.allocate(0, at: 0, count: 10_000) }
            if index % 4 == 2 { try file?.resize(to: 50) }
            if index % 4 == 3 { try file?.sync() }
            let shown = try Self.times(tree(name))
            Self.passTime()
            try Self.expectThatTimesStay(of: name, at: shown, tree) { file = nil }
          }
        }
      }
    }

    /// Closing the file, writing back all that the kernel has, and forgetting moves no time.
    private static func expectThatTimesStay(
      of name: String, at shown: [Int64], _ tree: MountedTree, closing close: () -> Void
    ) throws {
      close()
      #expect(try times(tree(name)) == shown, "after close(2)")
      let inTree = try tree.files.metadata(of: FilePath(name))
      #expect([inTree.modified, inTree.changed].map(\.inNanoseconds) == shown, "in the tree")
      for other in [name, "g", "h"] { tree.kernelForgets(other) }
      #expect(try times(tree(name)) == shown, "after the kernel has forgotten it")
    }

    @Test(arguments: cacheModes) func truncatingWhatIsEmptyMovesTheTimes(_ cache: MountOptions.Cache) async throws {
      try await withMount(options: .init(cache: cache)) { tree in
        try Host.create(tree("stamp"))
        Self.passTime()
        let before = try Self.times(tree("stamp"))
        try Host.create(tree("stamp"))
        let after = try Self.times(tree("stamp"))
        #expect(before[0] < after[0] && before[1] < after[1])
        tree.kernelForgets("stamp")
        #expect(try Self.times(tree("stamp")) == after)
      }
    }

    @Test(arguments: cacheModes) func extendedAttributesMoveTheChangeTime(_ cache: MountOptions.Cache) async throws {
      try await withMount(.init(extendedAttributes: true), options: .init(cache: cache)) { tree in
        try Host.create(tree("f"), [1])
        for call in ["setxattr(sys.argv[1], 'user.a', b'b')", "removexattr(sys.argv[1], 'user.a')"] {
          let before = try Self.times(tree("f"))
          Self.passTime()
          #expect(try python("import os, sys; os.\(call)", tree("f")) == "")
          let after = try Self.times(tree("f"))
          #expect(before[0] == after[0] && before[1] < after[1])
          Self.passTime()
          tree.kernelForgets("f")
          #expect(try Self.times(tree("f")) == after)
        }
      }
    }

    @Test(arguments: cacheModes) func storesInAMappingMoveTheTimesOnce(_ cache: MountOptions.Cache) async throws {
      try await withMount(options: .init(cache: cache)) { tree in
        try Host.create(tree("f"), pattern(10_000))
        let before = try Self.times(tree("f"))
        Self.passTime()
        // In another process: this one serves.
        let seen = try python(
          """
          import mmap, os, sys, time
          with open(sys.argv[1], 'r+b') as file:
            memory = mmap.mmap(file.fileno(), 0)
            memory[5000:5003] = b'abc'
            print(os.stat(sys.argv[1]).st_mtime_ns)
            time.sleep(0.025)
            memory.close()
          """, tree("f"))
        let shown = try Self.times(tree("f"))
        #expect(before[0] < shown[0] && before[1] < shown[1])
        // Otherwise the kernel stamps nothing, and we learn of the stores when the mapping goes.
        if cache == .writeback { #expect(seen == "\(shown[0])") }
        Self.passTime()
        try Self.expectThatTimesStay(of: "f", at: shown, tree) {}
      }
    }

    /// utimensat(2) with UTIME_NOW twice gives both times the same value.
    @Test(arguments: cacheModes) func touchGivesOneTime(_ cache: MountOptions.Cache) async throws {
      try await withMount(options: .init(cache: cache)) { tree in
        try Host.create(tree("f"), [1])
        Self.passTime()
        try check(host_set_times(tree("f"), .min, .min))
        let status = try Host.status(tree("f"))
        #expect(status.accessed == status.modified && status.modified == status.changed)
      }
    }
  }
}

extension Timestamp {
  var inNanoseconds: Int64 { seconds * 1_000_000_000 + Int64(nanoseconds) }
}
