import CHostCalls
import Foundation
import SystemPackage
import Testing

@testable import SpoolFS

extension MountSuites {
  @Suite(.serialized, .enabled(if: asksForBirthTimes, "Linux before 6.6 does not ask")) struct BirthTimeTests {
    @Test(arguments: cacheModes) func birthTimeIsThatOfTheCreation(_ cache: MountOptions.Cache) async throws {
      try await withMount(options: .init(cache: cache)) { tree in
        let makers: [(String, (String) throws -> Void)] = [
          ("file", { try Host.create($0, [1]) }), ("directory", Host.makeDirectory),
          ("link", { try Host.symlink("x", $0) }), ("fifo", { try check(host_make_node($0, S_IFIFO | 0o600, 0)) }),
        ]
        for (name, make) in makers {
          let before = Timestamp.now.inNanoseconds
          try make(tree(name))
          let after = Timestamp.now.inNanoseconds
          let birth = try #require(try birthTime(of: tree(name)))
          #expect((before...after).contains(birth), "\(name)")
          let inTree = try tree.files.metadata(of: FilePath(name), followingSymbolicLinks: false)
          #expect(inTree.created.inNanoseconds == birth)
        }
        #expect(try birthTime(of: tree.path) == tree.files.metadata(of: "/").created.inNanoseconds)
        let file = try HostFile(unnamedIn: tree.path)
        #expect(try birthTime(of: "", at: file.descriptor) != nil)
      }
    }

    @Test(arguments: cacheModes) func nothingMovesTheBirthTime(_ cache: MountOptions.Cache) async throws {
      try await withMount(options: .init(cache: cache)) { tree in
        try Host.create(tree("f"), [1])
        let birth = try birthTime(of: tree("f"))
        usleep(25_000)
        try Host.create(tree("f"), [2, 3])
        try Host.changeMode(tree("f"), 0o640)
        try check(host_set_times(tree("f"), 1, 2))
        try Host.link(tree("f"), tree("g"))
        try Host.rename(tree("f"), tree("h"))
        #expect(try birthTime(of: tree("h")) == birth)
        for name in ["f", "g", "h"] { tree.kernelForgets(name) }
        #expect(try birthTime(of: tree("g")) == birth)
        // All else that statx(2) says is what stat(2) says.
        let seen = try python(
          """
          import subprocess, os, sys
          found = os.stat(sys.argv[1])
          text = subprocess.check_output(['stat', '-c', '%i %s %b %f %u %g %h %Y %Z %X %W', sys.argv[1]], text=True)
          expected = (found.st_ino, found.st_size, found.st_blocks, '%x' % found.st_mode, found.st_uid, found.st_gid,
            found.st_nlink, int(found.st_mtime), int(found.st_ctime), int(found.st_atime), int(sys.argv[2]))
          print(text.split() == [str(part) for part in expected] or (text, expected))
          """, tree("g"), String((birth ?? 0) / 1_000_000_000))
        #expect(seen == "True")
      }
    }

    @Test func deviceNumbersAreTheSameBothWays() async throws {
      try await withMount { tree in
        try check(host_make_node(tree("d"), S_IFCHR | 0o600, 0x1234_5678))
        let plain = try Host.status(tree("d")).device
        #expect(try birthTime(of: tree("d")) != nil)
        #expect(try Host.status(tree("d")).device == plain)
      }
    }
  }
}
