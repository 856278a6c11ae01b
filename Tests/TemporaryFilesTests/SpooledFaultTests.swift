import CSpoolSystem
import Foundation
import Glibc
import SystemPackage
import TestSupport
import Testing

@testable import TemporaryFiles

/// A file that cannot move to disk has lost nothing, says why, and works again when the reason is gone.
@Suite struct SpooledFaultTests {
  /// Everything that moves a file of 100 bytes with that threshold fails with `errno`, and changes nothing.
  private static func expectStuck(_ file: inout SpooledTemporaryFile, _ errno: Errno) throws {
    try file.seek(to: 40)
    func check(_ operation: String, _ body: () throws(TemporaryFileError) -> Void) {
      do throws(TemporaryFileError) {
        try body()
        Issue.record("\(operation): no error")
      } catch {
        #expect(error.code == .rolloverFailed && error.errno == errno && error.operation == operation)
        #expect(error.description.contains("in memory as it was") && error.description.contains(errno.description))
      }
    }
    for _ in 0..<2 {
      check("write to") { () throws(TemporaryFileError) in try file.write([UInt8](repeating: 2, count: 61)) }
      check("resize") { () throws(TemporaryFileError) in try file.resize(to: 101) }
      check("move to disk") { () throws(TemporaryFileError) in try file.rollOver() }
      check("get a descriptor of") { () throws(TemporaryFileError) in _ = try file.fileDescriptor() }
      check("write to") { () throws(TemporaryFileError) in
        try file.writeLines([[UInt8](repeating: 2, count: 61)])
      }
    }
    #expect(try file.isRolledOver == false && file.mode == "w+b" && file.position == 40 && file.size == 100)
    // What needs no disk goes on working.
    try file.write([7])
    try file.seek(to: 40)
    try file.write([1])
    try file.seek(to: 0)
    #expect(try file.readToEnd() == [UInt8](repeating: 1, count: 100))
  }

  private static func fileOfAHundred(
    in directory: FilePath? = nil, store: SpoolStore = .shared
  ) throws -> SpooledTemporaryFile {
    var file = try SpooledTemporaryFile(threshold: .bytes(100), in: directory, store: store)
    try file.write([UInt8](repeating: 1, count: 100))
    return file
  }

  private static func expectMoves(_ file: inout SpooledTemporaryFile) throws {
    try file.seek(to: 0, from: .end)
    try file.write([2])
    #expect(try file.isRolledOver == true && file.position == 101)
    try file.seek(to: 0)
    #expect(try file.readToEnd() == [UInt8](repeating: 1, count: 100) + [2])
  }

  @Test(.enabled(if: geteuid() == 0, "mounting a disk that fails takes root"))
  func whatTheDiskRefusedIsPersistedFromMemory() throws {
    let (disk, sandbox) = (try FaultyDisk(), try Sandbox())
    defer { disk.end() }
    let store = try SpoolStore(SpoolConfiguration(memoryBudget: 16 << 20, spillDirectory: disk.path))
    let bytes = (0..<300_000).map { UInt8(truncatingIfNeeded: $0 * 7 >> 3) }
    for replaces in [false, true] {
      var file = try SpooledTemporaryFile(threshold: .bytes(0), store: store)
      disk.order(.refuse(.noSpace))
      try file.write(bytes)
      #expect(file.isRolledOver == true)
      let target = sandbox.path.appending("kept")
      try file.persist(to: target, replacing: replaces, synchronize: true)
      #expect(FileManager.default.contents(atPath: target.string).map(Array.init) == bytes)
      if replaces { unlink(target.string) }
      disk.order(.take)
    }
  }

  @Test func aRemovedDirectoryIsUsedAgainWhenItIsBack() throws {
    let sandbox = try Sandbox()
    let directory = sandbox.path.appending("spill")
    mkdir(directory.string, 0o700)
    var file = try Self.fileOfAHundred(in: directory)
    rmdir(directory.string)
    try Self.expectStuck(&file, .noSuchFileOrDirectory)
    mkdir(directory.string, 0o700)
    try Self.expectMoves(&file)
    #expect(rmdir(directory.string) == 0)
  }

  @Test func aRenamedDirectoryIsStillUsed() throws {
    let sandbox = try Sandbox()
    let directory = sandbox.path.appending("spill")
    let renamed = sandbox.path.appending("renamed")
    mkdir(directory.string, 0o700)
    var file = try Self.fileOfAHundred(in: directory)
    rename(directory.string, renamed.string)
    try Self.expectMoves(&file)
    #expect(rmdir(renamed.string) == 0)
  }

  /// The override is the process's, so this is a process of its own.
  @Test func theSharedStoreGoesWhereItIsTold() async {
    await #expect(processExitsWith: .success) {
      func device(_ file: inout SpooledTemporaryFile) throws -> FilePath {
        let link = "/proc/self/fd/\(try file.fileDescriptor().rawValue)"
        var target = [CChar](repeating: 0, count: 4096)
        #expect(readlink(link, &target, target.count - 1) > 0)
        return FilePath(platformString: target).removingLastComponent()
      }
      let sandbox = try Sandbox()
      let directory = sandbox.path.appending("chosen")
      TemporaryLocation.override = directory
      var early = try Self.fileOfAHundred()
      try Self.expectStuck(&early, .noSuchFileOrDirectory)
      mkdir(directory.string, 0o700)
      try Self.expectMoves(&early)
      #expect(try device(&early) == directory)
      // Removed and made again; with another one meanwhile.
      rmdir(directory.string)
      var late = try Self.fileOfAHundred()
      try Self.expectStuck(&late, .noSuchFileOrDirectory)
      TemporaryLocation.override = sandbox.path
      var other = try Self.fileOfAHundred()
      try Self.expectMoves(&other)
      #expect(try device(&other) == sandbox.path)
      TemporaryLocation.override = directory
      try Self.expectStuck(&late, .noSuchFileOrDirectory)
      mkdir(directory.string, 0o700)
      try Self.expectMoves(&late)
      #expect(try device(&late) == directory)
      rmdir(directory.string)
    }
  }

  @Test func withoutDescriptorsItStaysInMemory() async {
    await #expect(processExitsWith: .success) {
      let store = try SpoolStore(SpoolConfiguration(spillDirectory: "/var/tmp"))
      var file = try Self.fileOfAHundred(store: store)
      var own = try Self.fileOfAHundred(in: "/var/tmp", store: store)
      var held: [CInt] = []
      var limit = rlimit(rlim_cur: 64, rlim_max: 64)
      setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
      // What else has just started in this process gives some back a little later: all are taken when nobody has for a while.
      var quietLooks = 0
      while quietLooks < 50 {
        quietLooks += 1
        while case let descriptor = dup(0), descriptor >= 0 {
          held.append(descriptor)
          quietLooks = 0
        }
        usleep(10_000)
      }
      try Self.expectStuck(&file, .tooManyOpenFiles)
      try Self.expectStuck(&own, .tooManyOpenFiles)
      failure(.failed) { () throws(TemporaryFileError) in _ = try SpooledTemporaryFile(in: "/var/tmp") }
      failure(.failed) { () throws(TemporaryFileError) in _ = try TemporaryFile(in: "/var/tmp") }
      failure(.failed) { () throws(TemporaryFileError) in _ = try NamedTemporaryFile(in: "/var/tmp") }
      close(held.removeLast())
      close(held.removeLast())
      try Self.expectMoves(&file)
      try Self.expectMoves(&own)
    }
  }

  @Test(.enabled(if: geteuid() == 0, "mounting a tmpfs takes root"))
  func onAFullDiskItStaysInMemory() async {
    await #expect(processExitsWith: .success) {
      let disk = try SmallDisk(size: "64k")
      let store = try SpoolStore(SpoolConfiguration(spillDirectory: disk.path))
      var file = try Self.fileOfAHundred(store: store)
      var own = try Self.fileOfAHundred(in: disk.path, store: store)
      disk.fill()
      try Self.expectStuck(&file, .noSpace)
      try Self.expectStuck(&own, .noSpace)
      disk.empty()
      try Self.expectMoves(&file)
      try Self.expectMoves(&own)
      // On disk, a write that does not fit changes nothing.
      let large = [UInt8](repeating: 3, count: 100_000)
      failure(.noSpace) { () throws(TemporaryFileError) in try file.write(large) }
      #expect(try file.position == 101 && file.size == 101)
      try file.seek(to: 0)
      #expect(try file.readToEnd() == [UInt8](repeating: 1, count: 100) + [2])
    }
  }

  /// A move that is refused in its middle, by a limit of the process.
  @Test func aMoveThatFailsInItsMiddleChangesNothing() async {
    await #expect(processExitsWith: .success) {
      signal(SIGXFSZ, SIG_IGN)
      var limit = rlimit(rlim_cur: 50, rlim_max: rlim_t(bitPattern: -1))
      let store = try SpoolStore(SpoolConfiguration(spillDirectory: "/var/tmp"))
      var file = try Self.fileOfAHundred(store: store)
      setrlimit(__rlimit_resource_t(RLIMIT_FSIZE.rawValue), &limit)
      try Self.expectStuck(&file, .fileTooLarge)
      limit.rlim_cur = limit.rlim_max
      setrlimit(__rlimit_resource_t(RLIMIT_FSIZE.rawValue), &limit)
      try Self.expectMoves(&file)
    }
  }
}
