import CHostCalls
import Foundation
import SystemPackage
import Testing

@testable import SpoolFS

extension MountSuites {
  /// Each reason why a mount fails has its own code and text, and leaves nothing half-mounted.
  @Suite(.serialized) struct MountErrorTests {
    private func failure(at path: String, options: MountOptions = .init()) throws -> SpoolFSError? {
      let files = try FileSystem()
      let error = #expect(throws: SpoolFSError.self) { try files.mount(at: FilePath(path), options: options) }
      #expect(try !MountTable.spoolfsEntries().contains { $0.path.string == path })
      // Not left claimed either.
      let place = try MountedTree.makeMountPoint()
      defer { rmdir(place) }
      try files.mount(at: FilePath(place)).unmount()
      return error
    }

    @Test func missingDirectory() async throws {
      try await onThread {
        let error = try failure(at: "/tmp/there-is-no-such-directory")
        #expect(error?.code == .notFound)
        #expect(error?.description == "cannot mount /tmp/there-is-no-such-directory: the directory does not exist")
      }
    }

    @Test func noDirectory() async throws {
      try await onThread {
        let path = try MountedTree.makeMountPoint()
        defer { rmdir(path) }
        try Host.create(path + "/file")
        defer { try? Host.unlink(path + "/file") }
        let error = try failure(at: path + "/file")
        #expect(error?.code == .notADirectory)
        #expect(error?.description == "cannot mount \(path)/file: the mount point is not a directory")
      }
    }

    @Test func entriesInTheWay() async throws {
      try await onThread {
        let path = try MountedTree.makeMountPoint()
        defer { rmdir(path) }
        try Host.create(path + "/file")
        defer { try? Host.unlink(path + "/file") }
        let error = try failure(at: path)
        #expect(error?.code == .directoryNotEmpty)
        #expect(error?.description == "cannot mount \(path): the mount point is not empty")
        let mount = try FileSystem().mount(at: FilePath(path), options: .init(allowsNonemptyMountPoint: true))
        #expect(try Host.names(path) == [])
        try mount.unmount()
        #expect(try Host.names(path) == ["file"])
      }
    }

    @Test func secondMountOfOneTree() async throws {
      try await onThread {
        let tree = try MountedTree()
        let other = try MountedTree.makeMountPoint()
        defer { rmdir(other) }
        let error = #expect(throws: SpoolFSError.self) { try tree.files.mount(at: FilePath(other)) }
        #expect(error?.code == .alreadyMounted)
        #expect(try MountTable.top(at: FilePath(other)) == nil)
        try Host.create(tree("still-works"), [1])
        tree.end()
      }
    }

    @Test func unmountOfNothing() async throws {
      try await onThread {
        let path = try MountedTree.makeMountPoint()
        defer { rmdir(path) }
        let error = #expect(throws: SpoolFSError.self) { try MountPoint.unmount(FilePath(path), lazily: false) }
        #expect(error?.code == .notMounted)
      }
    }

    @Test(.enabled(if: Helper.isInstalled)) func helperRefuses() async throws {
      try await onThread {
        // A flag that fusermount3 does not know.
        let path = try MountedTree.makeMountPoint()
        defer { rmdir(path) }
        let error = #expect(throws: SpoolFSError.self) {
          _ = try Fusermount.mount("no_such_option", at: FilePath(path), staying: false)
        }
        #expect(error?.code == .mountRefused)
        #expect(error?.message.contains("fusermount3") == true)
        #expect(try MountTable.top(at: FilePath(path)) == nil)
      }
    }

    @Test func descriptionNamesOperationPathAndReason() {
      let error = SpoolFSError(.busy, operation: "unmount", path: "/x", errno: .resourceBusy, message: "in use")
      #expect("\(error)" == "cannot unmount /x: in use")
      #expect(SpoolFSError(errno: .noSpace, operation: "write").code == .noSpace)
      #expect("\(SpoolFSError(errno: .noSpace, operation: "write"))" == "cannot write: No space left on device")
    }
  }
}
