import CHostCalls
import Foundation
import SystemPackage
import Testing

@testable import SpoolFS

/// RENAME_WHITEOUT, and overlayfs, which needs it of its upper layer.
extension MountSuites {
  @Suite(.serialized, .kernelRing, .enabled(if: geteuid() == 0, "device nodes and overlays take root"))
  struct WhiteoutTests {
    private static let (noReplace, exchange, whiteout): (UInt32, UInt32, UInt32) = (1, 2, 4)

    private func isWhiteout(_ path: String) throws -> Bool {
      let found = try Host.status(path)
      return found.mode == S_IFCHR && found.device == 0 && found.link_count == 1
    }

    @Test(arguments: cacheModes) func theOldNameIsAWhiteout(_ cache: MountOptions.Cache) async throws {
      try await withMount(options: .init(cache: cache)) { tree in
        try Host.makeDirectory(tree("d"))
        try Host.create(tree("a"), [1])
        try Host.create(tree("b"), [2])
        let inode = try Host.status(tree("a")).inode
        try Host.rename(tree("a"), tree("d/c"), flags: Self.whiteout)
        #expect(try isWhiteout(tree("a")) && Host.status(tree("d/c")).inode == inode)
        try Host.rename(tree("b"), tree("d/c"), flags: Self.whiteout)
        #expect(try isWhiteout(tree("b")) && Host.contents(tree("d/c")) == [2])
        #expect(failure { try Host.rename(tree("d"), tree("a"), flags: Self.whiteout | Self.noReplace) } == .fileExists)
        #expect(
          failure { try Host.rename(tree("d"), tree("a"), flags: Self.whiteout | Self.exchange) } == .invalidArgument)
        // A directory takes its link with it.
        try Host.rename(tree("d"), tree("e"), flags: Self.whiteout | Self.noReplace)
        #expect(try isWhiteout(tree("d")) && Host.status(tree.path).link_count == 3)
        #expect(try Host.names(tree.path) == ["a", "b", "d", "e"])
        // Whiteouts are names as any other.
        for name in ["a", "b", "d"] { try Host.unlink(tree(name)) }
        #expect(try Host.names(tree.path) == ["e"])
      }
    }

    @Test func namesOfOneFileLeaveNone() async throws {
      try await withMount { tree in
        try Host.create(tree("a"), [1])
        try Host.link(tree("a"), tree("b"))
        try Host.rename(tree("a"), tree("b"), flags: Self.whiteout)
        #expect(try Host.contents(tree("a")) == [1] && Host.status(tree("a")).link_count == 2)
      }
    }

    /// It takes an inode before the replaced file gives its own back, as on tmpfs.
    @Test func withoutAnInodeNothingChanges() async throws {
      // The root is one.
      try await withMount(.init(inodeLimit: 3)) { tree in
        try Host.create(tree("a"), [1])
        try Host.create(tree("b"), [2])
        for target in ["b", "c"] {
          #expect(failure { try Host.rename(tree("a"), tree(target), flags: Self.whiteout) } == .noSpace)
        }
        #expect(try Host.contents(tree("a")) == [1] && Host.contents(tree("b")) == [2])
        try Host.unlink(tree("b"))
        try Host.rename(tree("a"), tree("b"), flags: Self.whiteout)
        #expect(try isWhiteout(tree("a")) && Host.contents(tree("b")) == [1])
        #expect(tree.files.statistics().freeInodes == 0)
      }
    }

    /// The same script over an upper layer in the tree and in a tmpfs.
    @Test(arguments: Way.all) func overlayfsTakesTheTreeAsUpperLayer(_ way: Way) async throws {
      try await withMount(.init(extendedAttributes: true), options: way.options) { tree in
        let expected = try overlay(upper: nil)
        let got = try overlay(upper: tree.path)
        #expect(expected.contains("upper gone c 0 0") && expected.hasSuffix("done"), "\(expected)")
        #expect(got == expected)
      }
    }

    /// - Parameter upper: a directory for the upper layer and its work directory; nil for a tmpfs.
    private func overlay(upper: String?) throws -> String {
      try outputOfProcess(
        ["unshare", "--mount", "timeout", "60", "bash", "-c", Self.overlayScript, "bash", upper ?? ""])
    }

    private static let overlayScript = """
      set -e
      base=$(mktemp -d)
      trap 'cd /; umount -l $base/merged $base/upper $base 2>/dev/null; rmdir $base' EXIT
      mount -t tmpfs none $base
      mkdir $base/lower $base/merged $base/upper
      if [ -n "$1" ]; then mount --bind "$1" $base/upper; else mount -t tmpfs none $base/upper; fi
      mkdir $base/upper/data $base/upper/work
      cd $base/lower
      mkdir -p sub/deep replaced kept
      for f in gone moved changed sub/gone sub/kept sub/deep/f replaced/old kept/f; do echo "lower $f" > $f; done
      ln -s moved link
      cd $base
      mount -t overlay overlay -o lowerdir=$base/lower,upperdir=$base/upper/data,workdir=$base/upper/work $base/merged
      cd $base/merged
      rm gone
      mv moved sub/moved
      echo more >> changed
      chmod 4711 changed
      rm -r sub/gone
      rm -r replaced; mkdir replaced; echo new > replaced/new
      mv sub/moved kept/f
      echo made > made; ln made made2; rm made
      rm link; ln -s elsewhere link
      python3 -c 'import os; f = os.open(".", os.O_TMPFILE | os.O_RDWR); os.write(f, b"x"); \\
        os.link("/proc/self/fd/%d" % f, "unnamed", src_dir_fd=f); os.setxattr("unnamed", "user.a", b"v"); \\
        print(os.listxattr("unnamed"))'
      mkfifo fifo; mknod device c 1 3
      touch -d @1000000000 kept/f
      for i in $(seq 60); do echo $i > many$i; done; rm many*
      find . -printf '%P %y %m %n %s %l\\n' | sort
      grep -r . --exclude=fifo --exclude=device . | sort
      stat -c '%Y' kept/f
      cd $base; umount $base/merged
      cd upper/data
      find . ! -type d -printf 'upper %P\\n' | sort
      stat -c 'upper %n %F' replaced kept
      for w in gone moved sub/gone; do stat -c "upper $w c %t %T" $w; done
      python3 -c 'import os; print(os.getxattr("replaced", "trusted.overlay.opaque"))'
      cd $base
      mount -t overlay overlay -o lowerdir=$base/lower,upperdir=$base/upper/data,workdir=$base/upper/work $base/merged
      cd merged
      find . -printf '%P %y %m %n %s %l\\n' | sort
      rm -r sub replaced kept; ls
      cd $base; umount $base/merged
      rm -rf upper/data upper/work
      ls upper
      echo done
      """
  }
}
