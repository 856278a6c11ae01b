import Foundation
import SystemPackage
import Testing

@testable import SpoolFS

extension MountSuites {
  @Suite(.serialized) struct MountTableTests {
    @Test func lineWithOptionalFieldsAndEscapes() throws {
      let line =
        #"36 35 98:7 /mnt1 /a\040b\134c rw,noatime master:1 shared:2 - fuse.spoolfs my\040source rw,errors=continue"#
      let entry = try #require(MountEntry(line: Array(line.utf8)[...]))
      #expect(entry.id == 36 && entry.parent == 35)
      #expect(entry.major == 98 && entry.minor == 7)
      #expect(entry.path == #"/a b\c"#)
      #expect(entry.options == "rw,noatime")
      #expect(entry.type == "fuse.spoolfs")
      #expect(entry.source == "my source")
      #expect(entry.filesystemOptions == "rw,errors=continue")
    }

    @Test func lineOfAMountWithoutASource() throws {
      let line = "28 1 0:25 / /run rw,nosuid shared:5 - tmpfs  rw,size=10%"
      let entry = try #require(MountEntry(line: Array(line.utf8)[...]))
      #expect(entry.path == "/run" && entry.type == "tmpfs" && entry.source == "")
      #expect(entry.filesystemOptions == "rw,size=10%")
    }

    @Test(arguments: ["", "36 35 98:0", "36 35 98:0 / / rw -", "x 35 98:0 / / rw - a b c", "1 2 3 / / rw - a b c"])
    func brokenLine(_ line: String) {
      #expect(MountEntry(line: Array(line.utf8)[...]) == nil)
    }

    @Test func ownMountIsFound() async throws {
      let options = MountOptions(
        flags: [.noSetUserID, .noDevices, .noExecution], sourceName: "a, b\\c")
      try await withMount(options: options) { tree in
        let entry = try #require(try MountTable.spoolfsEntries().first { $0.path.string == tree.path })
        #expect(entry.source == "a, b\\c")
        #expect(entry.options.contains("nosuid,nodev,noexec"))
        #expect(entry.filesystemOptions.contains("user_id=\(getuid())"))
        var status = stat()
        #expect(stat(tree.path, &status) == 0)
        #expect(Int(status.st_dev & 0xff) == entry.minor & 0xff)
      }
    }

    @Test func readOnlyMount() async throws {
      try await onThread {
        let path = try MountedTree.makeMountPoint()
        defer { rmdir(path) }
        let files = try FileSystem()
        try files.write([1], to: "a")
        let mount = try files.mount(at: FilePath(path), options: .init(flags: [.readOnly]))
        #expect(try Host.contents(path + "/a") == [1])
        #expect(failure { try Host.create(path + "/b") } == .readOnlyFileSystem)
        try mount.unmount()
      }
    }

    @Test(.enabled(if: geteuid() == 0), arguments: [nil, 256 << 20] as [Int64?])
    func limitsOfTheOwnDeviceAreSet(sizeLimit: Int64?) async throws {
      try await withMount(.init(storage: .init(sizeLimit: sizeLimit))) { tree in
        let entry = try #require(try MountTable.top(at: FilePath(tree.path)))
        let directory = "/sys/class/bdi/\(entry.major):\(entry.minor)"
        guard access(directory + "/read_ahead_kb", W_OK) == 0 else { return }
        if access(directory + "/max_bytes", W_OK) == 0 {
          // The kernel keeps a ratio of what memory there is.
          let text = String(decoding: try Host.contents(directory + "/max_bytes"), as: UTF8.self)
          let bytes = try #require(Int(text.dropLast()))
          let limit = DirtyLimit(treeSize: sizeLimit).bytes
          #expect((limit / 2...limit * 2).contains(bytes))
          #expect(try Host.contents(directory + "/strict_limit") == Array("1\n".utf8))
        } else {
          #expect(try Host.contents(directory + "/max_ratio") == Array("100\n".utf8))
        }
        #expect(try Host.contents(directory + "/read_ahead_kb") == Array("4096\n".utf8))
      }
    }
  }
}
