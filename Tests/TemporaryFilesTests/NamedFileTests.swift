import CSpoolSystem
import Glibc
import SystemPackage
import Testing

@testable import TemporaryFiles

/// When a named file goes: Python's delete × delete_on_close, with and without a scope, closed, dropped, or failed in.
@Suite struct NamedFileTests {
  typealias Cleanup = NamedTemporaryFile.Cleanup

  /// How the use of a file ends.
  enum End: CaseIterable, CustomTestStringConvertible {
    case closed, closedTwice, dropped, closedAndDropped, scope, closedInScope, thrownInScope, closedAndThrownInScope

    var testDescription: String { "\(self)" }
  }

  private struct Stop: Error {}

  private static let all: [Cleanup] = [.onClose, .onScopeExit, .never]

  @Test(arguments: all, End.allCases)
  func itIsThereAsLongAsItShould(cleanup: Cleanup, end: End) throws {
    for buffering in [Buffering.standard, .bytes(8192)] { try check(cleanup, end, buffering) }
  }

  private func check(_ cleanup: Cleanup, _ end: End, _ buffering: Buffering) throws {
    let sandbox = try Sandbox()
    let path: FilePath
    switch end {
    case .closed, .closedTwice, .closedAndDropped:
      var file = try NamedTemporaryFile(in: sandbox.path, buffering: buffering, cleanup: cleanup)
      path = file.path
      try file.put("blat")
      #expect(exists(path))
      try file.close()
      #expect(exists(path) == (cleanup != .onClose))
      if end == .closedTwice {
        try file.close()
        try file.close()
        #expect(exists(path) == (cleanup != .onClose) && file.path == path)
      }
    case .dropped:
      path = try Self.drop(in: sandbox.path, buffering, cleanup)
    case .scope, .closedInScope, .thrownInScope, .closedAndThrownInScope:
      path = try Self.scope(end, in: sandbox.path, buffering, cleanup)
    }
    // Dropped: only what is never removed is still there.
    #expect(exists(path) == (cleanup == .never))
    guard cleanup == .never else { return }
    #expect(try text(contents(of: path)) == "blat")
    #expect(unlink(path.string) == 0)
  }

  private static func drop(
    in directory: FilePath, _ buffering: Buffering, _ cleanup: Cleanup
  ) throws -> FilePath {
    let descriptors = openDescriptors(in: directory)
    var file = try NamedTemporaryFile(in: directory, buffering: buffering, cleanup: cleanup)
    try file.put("blat")
    let path = file.path
    #expect(exists(path) && openDescriptors(in: directory) == descriptors + 1)
    _ = consume file
    #expect(openDescriptors(in: directory) == descriptors)
    return path
  }

  private static func scope(
    _ end: End, in directory: FilePath, _ buffering: Buffering, _ cleanup: Cleanup
  ) throws -> FilePath {
    var path: FilePath = "/"
    do {
      try withNamedTemporaryFile(in: directory, buffering: buffering, cleanup: cleanup) { file in
        path = file.path
        try file.put("blat")
        if end == .closedInScope || end == .closedAndThrownInScope {
          try file.close()
          #expect(exists(path) == (cleanup != .onClose))
        }
        if end == .thrownInScope || end == .closedAndThrownInScope { throw Stop() }
      }
      #expect(end == .scope || end == .closedInScope)
    } catch is Stop {
      #expect(end == .thrownInScope || end == .closedAndThrownInScope)
    }
    return path
  }

  @Test(arguments: all, all) func oneCanChangeOnesMind(first: Cleanup, second: Cleanup) throws {
    let sandbox = try Sandbox()
    var path: FilePath = "/"
    do {
      var file = try NamedTemporaryFile(in: sandbox.path, cleanup: first)
      path = file.path
      file.cleanup = second
      try file.close()
      #expect(exists(path) == (second != .onClose))
    }
    #expect(exists(path) == (second == .never))
    if second == .never { unlink(path.string) }
    // After it was closed.
    do {
      var file = try NamedTemporaryFile(in: sandbox.path, cleanup: first)
      path = file.path
      try file.close()
      file.cleanup = second
    }
    #expect(exists(path) == (first != .onClose && second == .never))
    unlink(path.string)
  }

  @Test func othersSeeWhatIsWritten() throws {
    var file = try NamedTemporaryFile(prefix: "pre", suffix: ".suf")
    let name = try #require(file.path.lastComponent?.string)
    #expect(name.hasPrefix("pre") && name.hasSuffix(".suf") && file.path.isAbsolute && file.mode == "rb+")
    try file.put("abc")
    #expect(try text(contents(of: file.path)) == "abc")
    let other = try FileDescriptor.open(file.path, .readWrite)
    try other.writeAll(toAbsoluteOffset: 3, "def".utf8)
    #expect(try text(file.readToEnd()) == "def")
    try other.close()
    var buffered = try NamedTemporaryFile(buffering: .bytes(100))
    try buffered.put("abc")
    #expect(try contents(of: buffered.path) == [])
    try buffered.flush()
    #expect(try text(contents(of: buffered.path)) == "abc")
    var lines = try NamedTemporaryFile(buffering: .line)
    try lines.put("abc")
    #expect(try contents(of: lines.path) == [])
    try lines.put("d\ne")
    #expect(try text(contents(of: lines.path)) == "abcd\ne")
  }

  @Test(arguments: all) func removedBySomebodyElseIsNoError(cleanup: Cleanup) throws {
    let sandbox = try Sandbox()
    try withNamedTemporaryFile(in: sandbox.path, cleanup: cleanup) { file in
      unlink(file.path.string)
      try file.put("still works")
      #expect(try file.all() == "still works")
      failure(.notFound) { () throws(TemporaryFileError) in _ = try file.reopen() }
      failure(.notFound) { () throws(TemporaryFileError) in _ = try file.keep() }
      try file.remove()
    }
    // With all it was in.
    let inner = sandbox.path.appending("inner")
    mkdir(inner.string, 0o700)
    try withNamedTemporaryFile(in: inner, cleanup: cleanup) { file in
      unlink(file.path.string)
      rmdir(inner.string)
      makeFile(inner)
    }
    unlink(inner.string)
  }

  /// The name is ours, so nothing is left under it; but only our own file can be kept or used.
  @Test(arguments: all, ["file", "link", "fifo"])
  func whatReplacesItGoesWithItAndIsNotTakenForIt(cleanup: Cleanup, by what: String) throws {
    let sandbox = try Sandbox()
    var path: FilePath = "/"
    try withNamedTemporaryFile(in: sandbox.path, cleanup: cleanup) { file in
      path = file.path
      unlink(path.string)
      try put(what, at: path)
      for mode in [FileDescriptor.AccessMode.readOnly, .writeOnly, .readWrite] {
        failure(.replaced) { () throws(TemporaryFileError) in _ = try file.reopen(mode) }
      }
      failure(.replaced) { () throws(TemporaryFileError) in _ = try file.keep() }
      failure(.replaced) { () throws(TemporaryFileError) in
        try file.persist(to: sandbox.path.appending("target"))
      }
      #expect(file.isClosed == false && exists(path))
    }
    #expect(exists(path) == (cleanup == .never))
    if cleanup == .never { #expect(unlink(path.string) == 0) }
    #expect(access("/etc/passwd", F_OK) == 0)
  }

  private func put(_ what: String, at path: FilePath) throws {
    switch what {
    case "file": makeFile(path)
    case "link": symlink("/etc/passwd", path.string)
    default: mkfifo(path.string, 0o600)
    }
    try #require(exists(path))
  }

  @Test func aDirectoryThatReplacesItStaysAndIsAnError() throws {
    let sandbox = try Sandbox()
    var file = try NamedTemporaryFile(in: sandbox.path)
    unlink(file.path.string)
    makeDirectory(file.path)
    failure(.replaced) { () throws(TemporaryFileError) in try file.close() }
    #expect(file.isClosed == true && exists(file.path))
    #expect(rmdir(file.path.string) == 0)
  }

  /// The number of an inode is soon given to another file.
  @Test func aFileThatReplacesAClosedOneIsNotKept() throws {
    let sandbox = try Sandbox()
    for _ in 0..<5 {
      var file = try NamedTemporaryFile(in: sandbox.path, cleanup: .onScopeExit)
      try file.close()
      // Filesystems stamp with a clock that goes on some hundred times a second.
      usleep(20_000)
      unlink(file.path.string)
      makeFile(file.path)
      failure(.replaced) { () throws(TemporaryFileError) in _ = try file.keep() }
      failure(.replaced) { () throws(TemporaryFileError) in _ = try file.reopen() }
    }
  }

  @Test func reopeningGivesTheSameFileWithAnOffsetOfItsOwn() throws {
    var file = try NamedTemporaryFile(buffering: .bytes(100), cleanup: .onScopeExit)
    try file.put("abcdef")
    for _ in 0..<2 {
      let other = try file.reopen(.readOnly)
      #expect(fcntl(other.rawValue, F_GETFD) == FD_CLOEXEC)
      #expect(try Descriptor.offset(other.rawValue) == 0)
      #expect(try FileIdentity(of: other.rawValue) == FileIdentity(at: file.path))
      try other.close()
      // Also when closed.
      try file.close()
    }
    try file.remove()
    failure(.notFound) { () throws(TemporaryFileError) in _ = try file.reopen() }
  }

  @Test(arguments: [false, true]) func aKeptFileStays(closed: Bool) throws {
    let sandbox = try Sandbox()
    var path: FilePath = "/"
    do {
      var file = try NamedTemporaryFile(in: sandbox.path, buffering: .bytes(100), cleanup: .onScopeExit)
      try file.put("kept")
      if closed { try file.close() }
      path = try file.keep()
      #expect(try file.keep() == path && path == file.path && file.cleanup == .never)
    }
    #expect(try text(contents(of: path)) == "kept")
    unlink(path.string)
    let kept = try withNamedTemporaryFile(in: sandbox.path) { try $0.keep() }
    #expect(unlink(kept.string) == 0)
  }

  @Test func removingLeavesTheFileOpen() throws {
    let sandbox = try Sandbox()
    var file = try NamedTemporaryFile(in: sandbox.path)
    try file.put("abc")
    try file.remove()
    #expect(sandbox.names == [])
    try file.remove()
    #expect(try file.all() == "abc")
    // Somebody else may take the name.
    makeFile(file.path)
    try file.close()
    #expect(unlink(file.path.string) == 0)
  }
}

/// Descriptors of the process that are open below a directory.
func openDescriptors(in directory: FilePath) -> Int {
  (entries(of: "/proc/self/fd") ?? []).count { descriptor in
    var target = [CChar](repeating: 0, count: 4096)
    guard readlink("/proc/self/fd/\(descriptor)", &target, target.count - 1) > 0 else { return false }
    return FilePath(platformString: target).starts(with: directory)
  }
}
