import Foundation
import SystemPackage
import Testing

@testable import SpoolFS

extension MountSuites {
  @Suite(.serialized) struct UnmountTests {
    @Test func unmountLeavesTheDirectoryEmptyAndTheTreeUsable() async throws {
      try await onThread {
        let tree = try MountedTree()
        try Host.create(tree("a"), [1])
        try tree.mount.unmount()
        #expect(try Host.names(tree.path) == [])
        #expect(try MountTable.top(at: FilePath(tree.path)) == nil)
        #expect(try tree.files.contents(of: "a") == [1])
        // Again, and again by the object's end, is no error.
        try tree.mount.unmount()
        tree.mount.waitUntilUnmounted()
        tree.end()
      }
    }

    @Test func busyUnmountSaysSoAndLeavesTheMountWorking() async throws {
      try await onThread {
        let tree = try MountedTree()
        try Host.create(tree("a"), [1])
        var file: HostFile? = try HostFile(tree("a"))
        let error = #expect(throws: SpoolFSError.self) { try tree.mount.unmount() }
        #expect(error?.code == .busy)
        #expect(error?.errno == .resourceBusy)
        #expect(error?.path == FilePath(tree.path))
        try file?.write([2], at: 0)
        #expect(try Host.contents(tree("a")) == [2])
        file = nil
        try tree.mount.unmount()
        tree.end()
      }
    }

    @Test func lazilyDetachedMountServesItsLastUser() async throws {
      try await onThread {
        let tree = try MountedTree()
        var file: HostFile? = try HostFile(tree("a"), O_CREAT | O_RDWR)
        try tree.mount.unmount(lazily: true)
        #expect(try Host.names(tree.path) == [])
        try file?.write(pattern(100_000), at: 0)
        #expect(try file?.read(100_000) == pattern(100_000))
        file = nil
        tree.mount.waitUntilUnmounted()
        #expect(try tree.files.contents(of: "a") == pattern(100_000))
        tree.end()
      }
    }

    @Test func droppedMountIsUnmounted() async throws {
      try await onThread {
        let path = try MountedTree.makeMountPoint()
        let files = try FileSystem()
        do {
          let mount = try files.mount(at: FilePath(path))
          try Host.create(path + "/a", [1])
          withExtendedLifetime(mount) {}
        }
        #expect(try MountTable.top(at: FilePath(path)) == nil)
        #expect(rmdir(path) == 0)
      }
    }

    @Test func treeCanBeMountedAgainAndAgain() async throws {
      try await onThread {
        let path = try MountedTree.makeMountPoint()
        defer { rmdir(path) }
        let files = try FileSystem()
        for round in 0..<20 {
          let mount = try files.mount(at: FilePath(path))
          try Host.create(path + "/f\(round)", [UInt8(round)])
          #expect(try Host.names(path).count == round + 1)
          #expect(try Host.contents(path + "/f0") == [0])
          try mount.unmount()
        }
      }
    }

    @Test func unmountFromOutsideEndsTheSession() async throws {
      try await onThread {
        let tree = try MountedTree()
        try MountPoint.unmount(FilePath(tree.path), lazily: false)
        tree.mount.waitUntilUnmounted()
        try tree.mount.unmount()
        // The tree is free for another mount.
        try tree.files.mount(at: FilePath(tree.path)).unmount()
        tree.end()
      }
    }

    /// Somebody's mount on top of ours is not ours to take away.
    @Test func mountOnTopIsLeftAlone() async throws {
      try await onThread {
        let tree = try MountedTree()
        let other = try FileSystem()
        let top = try other.mount(at: FilePath(tree.path))
        try Host.create(tree("top"), [1])
        let error = #expect(throws: SpoolFSError.self) { try tree.mount.unmount(lazily: true) }
        #expect(error?.code == .busy)
        #expect(Host.exists(tree("top")))
        try top.unmount()
        tree.end()
      }
    }

    /// Each thread holds the session, and the session the device: when it is gone, all are.
    @Test func threadsAndDeviceEndWithTheMount() async throws {
      try await onThread {
        weak var session: Session?
        do {
          let path = try MountedTree.makeMountPoint()
          defer { rmdir(path) }
          let mount = try FileSystem().mount(at: FilePath(path), options: .init(workers: 3))
          session = mount.session
          try Host.create(path + "/a", [1])
          try mount.unmount()
        }
        try eventually { session == nil }
      }
    }

    @Test(.enabled(if: geteuid() == 0, "takes root to abort")) func abortedMountIsTakenAway() async throws {
      try await onThread {
        let tree = try MountedTree()
        try Host.create(tree("a"), [1])
        let entry = try #require(try MountTable.top(at: FilePath(tree.path)))
        #expect(MountPoint.abort(entry) == nil)
        tree.mount.waitUntilUnmounted()
        #expect(try MountTable.top(at: FilePath(tree.path)) == nil)
        tree.end()
      }
    }

    /// The kernel answers stat(2) of a mount's root from its cache, also when the server has died.
    @Test func deadMountIsToldThoughItsAttributesAreKnown() async throws {
      try await onThread {
        let mount = try ServedMount(cache: .writethrough)
        defer { mount.end() }
        _ = try FileManager.default.attributesOfItem(atPath: mount.path)
        mount.kill()
        try eventually { MountPoint.isDead(FilePath(mount.path)) }
        let error = #expect(throws: SpoolFSError.self) { try FileSystem().mount(at: FilePath(mount.path)) }
        #expect(error?.code == .deadMount)
      }
    }

    /// The helper that unmounts after a killed process, seen from its other side: it goes when the mount goes.
    @Test(.enabled(if: Helper.isInstalled)) func mountThroughTheHelper() async throws {
      try await onThread {
        let tree = try MountedTree(options: .init(unmountsWhenProcessDies: true))
        try Host.create(tree("a"), pattern(10))
        #expect(try Host.contents(tree("a")) == pattern(10))
        let entry = try #require(try MountTable.top(at: FilePath(tree.path)))
        #expect(entry.type == "fuse.spoolfs")
        #expect(entry.source == "spoolfs")
        tree.end()
        #expect(try MountTable.top(at: FilePath(tree.path)) == nil)
      }
    }
  }
}

enum Helper {
  static let isInstalled = ["/usr/bin", "/bin"].contains { access($0 + "/fusermount3", X_OK) == 0 }
}
