import CSpoolSystem
import Glibc
import SystemPackage
import Testing

@testable import TemporaryFiles

/// Making files: names, permissions, and what is left when it fails.
@Suite struct CreationTests {
  private static let noText: [UInt8] = [0xff, 0xfe, 0x80]

  @Test func namesNeedNotBeText() throws {
    let sandbox = try Sandbox()
    let odd = sandbox.path.appending(FilePath.Component(platformString: [CChar(bitPattern: 0xc3), 0])!)
    makeDirectory(odd)
    defer { #expect(odd.withPlatformString { rmdir($0) } == 0) }
    try withNamedTemporaryFile(
      in: odd, prefix: NameAffix(bytes: Self.noText), suffix: NameAffix(bytes: [0x20, 0xff])
    ) { file in
      let name = try #require(file.path.lastComponent).bytes
      #expect(name.starts(with: Self.noText) && name.suffix(2) == [0x20, 0xff] && name.count == 17)
      #expect(file.path.removingLastComponent() == odd && exists(file.path))
      try file.put("abc")
      try file.reopen().close()
      let target = odd.appending(FilePath.Component(platformString: [CChar(bitPattern: 0xfd), 0])!)
      try file.persist(to: target)
      #expect(try text(contents(of: target)) == "abc" && entries(of: odd)?.count == 1)
      target.withPlatformString { _ = unlink($0) }
    }
    var unnamed = try TemporaryFile(in: odd, prefix: NameAffix(bytes: Self.noText))
    try unnamed.put("abc")
    var spooled = try SpooledTemporaryFile(threshold: .bytes(0), in: odd)
    try spooled.put("abc")
  }

  @Test(arguments: ["a/b", "/", "a\0b", "\0", String(repeating: "x", count: 255)])
  func impossibleNamesAreRefused(affix: String) throws {
    let sandbox = try Sandbox()
    let affix = NameAffix(affix)
    failure(.invalidName) { () throws(TemporaryFileError) in _ = try TemporaryFile(in: sandbox.path, prefix: affix) }
    failure(.invalidName) { () throws(TemporaryFileError) in _ = try TemporaryFile(in: sandbox.path, suffix: affix) }
    failure(.invalidName) { () throws(TemporaryFileError) in
      _ = try NamedTemporaryFile(in: sandbox.path, prefix: affix)
    }
    failure(.invalidName) { () throws(TemporaryFileError) in
      _ = try NamedTemporaryFile(in: sandbox.path, suffix: affix)
    }
  }

  /// The umask is the process's, so this is a process of its own.
  @Test func permissionsAreThoseAskedForLessTheUmask() async {
    await #expect(processExitsWith: .success) {
      func mode(_ file: CInt) throws -> mode_t { try Descriptor.status(file).st_mode & 0o7777 }
      let sandbox = try Sandbox()
      for mask in [mode_t(0), 0o022, 0o077, 0o377] {
        umask(mask)
        for asked in [mode_t(0o600), 0o666, 0o640, 0o444, 0] {
          let permissions = FilePermissions(rawValue: CModeT(asked))
          var unnamed = try TemporaryFile(in: sandbox.path, permissions: permissions)
          #expect(try mode(unnamed.fileDescriptor().rawValue) == asked & ~mask)
          var named = try NamedTemporaryFile(in: sandbox.path, permissions: permissions)
          #expect(try mode(named.fileDescriptor().rawValue) == asked & ~mask)
          let template = try NameTemplate(prefix: "", suffix: "", for: "")
          let unlinked = try Creation.makeUnlinked(in: sandbox.path, template, permissions: permissions)
          #expect(try mode(unlinked) == asked & ~mask)
          close(unlinked)
        }
        var unnamed = try TemporaryFile(in: sandbox.path)
        #expect(try mode(unnamed.fileDescriptor().rawValue) == 0o600 & ~mask)
        // A spooled file is never anybody else's, and always its owner's.
        var spooled = try SpooledTemporaryFile(in: sandbox.path)
        #expect(try mode(spooled.fileDescriptor().rawValue) == 0o600 & ~mask)
      }
      umask(0o077)
    }
  }

  /// inotify tells of every name, however short it is there.
  @Test func anUnnamedFileHasNoNameAtAnyMoment() throws {
    let sandbox = try Sandbox()
    let watch = inotify_init1(Int32(IN_NONBLOCK) | Int32(IN_CLOEXEC))
    defer { close(watch) }
    inotify_add_watch(watch, sandbox.path.string, UInt32(IN_CREATE | IN_MOVE | IN_DELETE))
    func names() -> Int {
      var events = [UInt8](repeating: 0, count: 4096)
      return max(0, read(watch, &events, events.count))
    }
    try withTemporaryFile(in: sandbox.path) { file in
      try file.put("abc")
      _ = try file.reopen().close()
      _ = try file.fileDescriptor()
    }
    var spooled = try SpooledTemporaryFile(threshold: .bytes(0), in: sandbox.path)
    try spooled.put("abc")
    try spooled.close()
    #expect(names() == 0)
    // Without O_TMPFILE there has to be one, which is gone when the file is there.
    let template = try NameTemplate(prefix: "", suffix: "", for: "")
    let file = try Creation.makeUnlinked(in: sandbox.path, template, permissions: .ownerReadWrite)
    #expect(names() > 0 && sandbox.names == [])
    #expect(try Descriptor.status(file).st_nlink == 0)
    close(file)
  }

  /// Every way to make a file in a directory, and what it says that it was doing.
  private static func expectFailure(
    in directory: FilePath, _ code: TemporaryFileError.Code, _ errno: Errno
  ) {
    func check(_ operation: String, _ body: () throws(TemporaryFileError) -> Void) {
      do throws(TemporaryFileError) {
        try body()
        Issue.record("made a file in \(directory)")
      } catch {
        #expect(error.code == code && error.errno == errno && error.path == directory && error.operation == operation)
        #expect(error.description == "cannot \(operation) \(directory): \(errno)")
      }
    }
    let descriptors = openDescriptors(in: directory)
    check("make a temporary file in") { () throws(TemporaryFileError) in _ = try TemporaryFile(in: directory) }
    check("make a temporary file in") { () throws(TemporaryFileError) in _ = try NamedTemporaryFile(in: directory) }
    check("use for spooled files the directory") { () throws(TemporaryFileError) in
      _ = try SpooledTemporaryFile(in: directory)
    }
    #expect(openDescriptors(in: directory) == descriptors)
  }

  @Test func aDirectoryThatCannotBeUsedIsAnErrorAndNothingElse() throws {
    let sandbox = try Sandbox()
    Self.expectFailure(in: sandbox.path.appending("missing"), .notFound, .noSuchFileOrDirectory)
    let file = sandbox.path.appending("file")
    makeFile(file)
    Self.expectFailure(in: file, .notADirectory, .notDirectory)
    unlink(file.string)
    // Nothing can be made in /proc, whoever one is.
    let error = #expect(throws: TemporaryFileError.self) { _ = try NamedTemporaryFile(in: "/proc") }
    #expect(error?.path == "/proc")
  }

  @Test(.enabled(if: geteuid() == 0, "mounting a tmpfs takes root"))
  func aReadOnlyOrFullDiskIsAnErrorAndNothingElse() throws {
    let readOnly = try SmallDisk(size: "64k", readOnly: true)
    Self.expectFailure(in: readOnly.path, .permissionDenied, .readOnlyFileSystem)
    // No inode for another file.
    let full = try SmallDisk(size: "64k,nr_inodes=1")
    Self.expectFailure(in: full.path, .noSpace, .noSpace)
    #expect(full.names == [])
  }

  @Test(.enabled(if: geteuid() == 0, "mounting a tmpfs takes root"))
  func whatDoesNotFitOnTheDiskIsToldAndCanBeTriedAgain() throws {
    let disk = try SmallDisk(size: "64k")
    func check(_ file: inout some ByteFile & ~Copyable) throws {
      try file.put("begin")
      try file.flush()
      disk.fill()
      let bytes = [UInt8](repeating: 65, count: 20_000)
      failure(.noSpace) { () throws(TemporaryFileError) in
        try file.write(bytes)
        try file.flush()
      }
      disk.empty()
      // A buffer may have taken the bytes; else the position is where they have to be written.
      if try file.position == 5 { try file.write(bytes) }
      #expect(try file.position == 20_005)
      try file.flush()
      try file.seek(to: 0)
      #expect(try file.readToEnd() == Array("begin".utf8) + bytes)
      try file.close()
    }
    for buffering in [Buffering.none, .bytes(100), .bytes(30_000), .line] {
      var unnamed = try TemporaryFile(in: disk.path, buffering: buffering)
      try check(&unnamed)
      var named = try NamedTemporaryFile(in: disk.path, buffering: buffering)
      try check(&named)
      #expect(disk.names == [])
    }
  }

  /// What a line's flush could not write is not pending: it is written once when it is tried again.
  @Test(.enabled(if: geteuid() == 0, "mounting a tmpfs takes root"))
  func aLineThatDoesNotFitIsWrittenOnceWhenTriedAgain() throws {
    let disk = try SmallDisk(size: "64k")
    var file = try NamedTemporaryFile(in: disk.path, buffering: .line)
    disk.fill()
    try file.put("one ")
    failure(.noSpace) { () throws(TemporaryFileError) in try file.put("line\n") }
    #expect(try file.position == 4)
    disk.empty()
    try file.put("line\n")
    #expect(try text(contents(of: file.path)) == "one line\n" && file.size == 9)
  }

  /// A close that could not write says so, and still ends everything.
  @Test(.enabled(if: geteuid() == 0, "mounting a tmpfs takes root"))
  func closingTellsOfBytesThatCouldNotBeWritten() throws {
    let disk = try SmallDisk(size: "64k")
    for cleanup in [NamedTemporaryFile.Cleanup.onScopeExit, .never, .onClose] {
      var file = try NamedTemporaryFile(in: disk.path, buffering: .bytes(100), cleanup: cleanup)
      disk.fill()
      try file.put("abc")
      if cleanup == .onClose {
        // Nobody will ever read them.
        try file.close()
      } else {
        failure(.noSpace) { () throws(TemporaryFileError) in try file.close() }
      }
      #expect(file.isClosed == true)
      try file.close()
      try file.remove()
      disk.empty()
      #expect(disk.names == [])
    }
    #expect(throws: TemporaryFileError.self) {
      try withNamedTemporaryFile(in: disk.path, buffering: .bytes(100), cleanup: .onScopeExit) { file in
        disk.fill()
        try file.put("abc")
      }
    }
    disk.empty()
    #expect(disk.names == [])
  }
}
