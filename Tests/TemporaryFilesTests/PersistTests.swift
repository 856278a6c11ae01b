import CSpoolSystem
import Dispatch
import Glibc
import Synchronization
import SystemPackage
import Testing

@testable import TemporaryFiles

/// Every way to make a file permanent: from where it is, to where it goes.
@Suite struct PersistTests {
  /// What is made permanent, and how it gets there.
  enum Source: CaseIterable, CustomTestStringConvertible {
    case named, namedBuffered, unnamed, unlinked, spooledInMemory, spooledOnDisk, spooledGivenAway

    var testDescription: String { "\(self)" }
  }

  /// Runs `body` with a file in a directory that holds "temporary".
  private func with(_ source: Source, in directory: FilePath, _ body: (any AnyPersistable) throws -> Void) throws {
    let file: any AnyPersistable
    switch source {
    case .named: file = Persistable(try NamedTemporaryFile(in: directory))
    case .namedBuffered: file = Persistable(try NamedTemporaryFile(in: directory, buffering: .bytes(100)))
    case .unnamed: file = Persistable(try TemporaryFile(in: directory))
    case .unlinked: file = Persistable(try unlinkedFile(in: directory))
    case .spooledInMemory, .spooledGivenAway: file = Persistable(try SpooledTemporaryFile(in: directory))
    case .spooledOnDisk: file = Persistable(try SpooledTemporaryFile(threshold: .bytes(0), in: directory))
    }
    if source == .spooledGivenAway { _ = try file.fileDescriptor() }
    try file.put("temporary")
    try body(file)
  }

  /// As where there is no O_TMPFILE: it had a name once, and cannot be given another.
  private func unlinkedFile(in directory: FilePath) throws -> TemporaryFile {
    let template = try NameTemplate(prefix: "", suffix: "", for: "")
    let unlinked = try Creation.makeUnlinked(in: directory, template, permissions: .ownerReadWrite)
    var file = try TemporaryFile(in: directory)
    file.channel = Channel(descriptor: unlinked, buffer: nil, maximumSize: nil)
    return file
  }

  /// Directories on the same filesystem and on another one.
  private static let places: [FilePath] = ["/var/tmp", "/dev/shm"]

  @Test(arguments: Source.allCases, places)
  func itIsAllThereUnderItsNewName(source: Source, place: FilePath) throws {
    let sandbox = try Sandbox()
    let other = try Sandbox(in: place)
    let target = other.path.appending("target")
    for synchronize in [false, true] {
      try with(source, in: sandbox.path) { file in
        try file.seek(to: 4)
        try file.persist(to: target, replacing: false, synchronize: synchronize, permissions: nil)
        #expect(file.isClosed == true && sandbox.names == [] && other.names == ["target"])
        #expect(try text(contents(of: target)) == "temporary" && mode(of: target) == 0o600)
        #expect(status(of: target)?.st_nlink == 1)
        try file.close()
      }
      #expect(try text(contents(of: target)) == "temporary")
      unlink(target.string)
    }
  }

  @Test(arguments: Source.allCases, places) func replacingIsAsked(source: Source, place: FilePath) throws {
    let sandbox = try Sandbox()
    let other = try Sandbox(in: place)
    let target = other.path.appending("target")
    makeFile(target)
    try with(source, in: sandbox.path) { file in
      try expectRefused(file, target, replacing: false, .alreadyExists, .fileExists)
      #expect(try contents(of: target) == [] && other.names == ["target"])
      try file.persist(to: target, permissions: [.ownerReadWrite, .groupRead])
      #expect(try text(contents(of: target)) == "temporary" && mode(of: target) == 0o640)
    }
    // Links are replaced, not followed, and not written through when they must not be replaced.
    unlink(target.string)
    symlink("nowhere", target.string)
    try with(source, in: sandbox.path) { file in
      try expectRefused(file, target, replacing: false, .alreadyExists, .fileExists)
      try file.persist(to: target)
      #expect(try text(contents(of: target)) == "temporary" && other.names == ["target"])
    }
    unlink(target.string)
  }

  /// The file is still there, as it was, and can be made permanent elsewhere.
  private func expectRefused(
    _ file: any AnyPersistable, _ target: FilePath, replacing: Bool = true, _ code: TemporaryFileError.Code,
    _ errno: Errno
  ) throws {
    let before = try file.permissions
    for permissions in [nil, FilePermissions.ownerReadWriteExecute] {
      do throws(TemporaryFileError) {
        try file.persist(to: target, replacing: replacing, permissions: permissions)
        Issue.record("made permanent as \(target)")
      } catch {
        #expect(error.code == code && error.errno == errno && error.path == target)
        #expect(error.description.hasPrefix("cannot make permanent as \(target): "))
      }
    }
    #expect(file.isClosed == false)
    #expect(try file.permissions == before)
    if let path = file.namedPath { #expect(exists(path)) }
    #expect(try file.size == 9 && file.all() == "temporary")
  }

  @Test(arguments: Source.allCases) func aTargetThatCannotBeChangesNothing(source: Source) throws {
    let sandbox = try Sandbox()
    let other = try Sandbox()
    let directory = other.path.appending("directory")
    makeDirectory(directory)
    let file = other.path.appending("file")
    makeFile(file)
    try with(source, in: sandbox.path) { temporary in
      try expectRefused(temporary, directory, .failed, .isDirectory)
      try expectRefused(temporary, directory, replacing: false, .alreadyExists, .fileExists)
      try expectRefused(temporary, other.path.appending("missing/target"), .notFound, .noSuchFileOrDirectory)
      try expectRefused(temporary, file.appending("target"), .notADirectory, .notDirectory)
      let long = other.path.appending(String(repeating: "x", count: 256))
      try expectRefused(temporary, long, .invalidName, .fileNameTooLong)
      for target in ["/", "..", "."] as [FilePath] {
        failure(.invalidArgument) { () throws(TemporaryFileError) in try temporary.persist(to: target) }
      }
      #expect(other.names == ["directory", "file"])
      try temporary.persist(to: file)
      #expect(try text(contents(of: file)) == "temporary")
    }
    rmdir(directory.string)
    unlink(file.string)
  }

  @Test(arguments: Source.allCases) func aClosedFileCannotBeMadePermanent(source: Source) throws {
    let sandbox = try Sandbox()
    try with(source, in: sandbox.path) { file in
      try file.close()
      failure(.closed) { () throws(TemporaryFileError) in try file.persist(to: sandbox.path.appending("target")) }
    }
  }

  @Test(.enabled(if: geteuid() == 0, "mounting a tmpfs takes root"), arguments: Source.allCases)
  func aFullOrReadOnlyDiskChangesNothing(source: Source) throws {
    let sandbox = try Sandbox()
    let readOnly = try SmallDisk(size: "64k", readOnly: true)
    let full = try SmallDisk(size: "64k")
    try with(source, in: sandbox.path) { file in
      try expectRefused(file, readOnly.path.appending("target"), .permissionDenied, .readOnlyFileSystem)
      full.fill()
      try expectRefused(file, full.path.appending("target"), .noSpace, .noSpace)
      #expect(full.names == ["ballast"])
      full.empty()
      let target = full.path.appending("target")
      try file.persist(to: target)
      #expect(try text(contents(of: target)) == "temporary" && full.names == ["target"])
    }
  }

  @Test func copyingIsOnlyDoneWhereItIsAllowed() throws {
    let sandbox = try Sandbox()
    let other = try Sandbox(in: "/dev/shm")
    let target = other.path.appending("target")
    var named = try NamedTemporaryFile(in: sandbox.path)
    var unnamed = try TemporaryFile(in: sandbox.path)
    failure(.crossDevice) { () throws(TemporaryFileError) in try named.persist(to: target, copying: false) }
    failure(.crossDevice) { () throws(TemporaryFileError) in try unnamed.persist(to: target, copying: false) }
    #expect(exists(named.path) && other.names == [])
    #expect(named.isClosed == false && unnamed.isClosed == false)
  }

  /// Under the name that it has, by whatever way there, the file stays, and stays for good.
  @Test(arguments: [false, true], [false, true]) func toItsOwnNameItStays(replacing: Bool, throughLink: Bool) throws {
    let sandbox = try Sandbox()
    let link = sandbox.path.appending("link")
    symlink(".", link.string)
    var file = try NamedTemporaryFile(in: sandbox.path, buffering: .bytes(100))
    try file.put("kept")
    let target = throughLink ? link.appending(file.path.lastComponent!) : file.path
    try file.persist(to: target, replacing: replacing, synchronize: true, permissions: .ownerRead)
    let path = file.path
    #expect(file.isClosed == true)
    _ = consume file
    #expect(try text(contents(of: path)) == "kept" && mode(of: path) == 0o400)
    unlink(path.string)
    unlink(link.string)
  }

  @Test(arguments: [NamedTemporaryFile.Cleanup.onClose, .onScopeExit, .never])
  func thePermanentFileStaysWhateverTheCleanup(cleanup: NamedTemporaryFile.Cleanup) throws {
    let sandbox = try Sandbox()
    let target = sandbox.path.appending("target")
    try withNamedTemporaryFile(in: sandbox.path, cleanup: cleanup) { file in
      try file.put("kept")
      try file.persist(to: target)
    }
    #expect(try text(contents(of: target)) == "kept" && sandbox.names == ["target"])
    unlink(target.string)
  }

  @Test func aRemovedFileIsMissedByItsName() throws {
    let sandbox = try Sandbox()
    var file = try NamedTemporaryFile(in: sandbox.path)
    unlink(file.path.string)
    do throws(TemporaryFileError) { try file.persist(to: sandbox.path.appending("target")) } catch {
      #expect(error.code == .notFound && error.message.contains(file.path.string))
    }
    #expect(file.isClosed == false && sandbox.names == [])
  }

  @Test(arguments: places) func relativePathsAndHoles(place: FilePath) throws {
    let sandbox = try Sandbox()
    let other = try Sandbox(in: place)
    let target = other.path.appending("target")
    for source in Source.allCases {
      try with(source, in: sandbox.path) { file in
        try file.seek(to: 10 << 20)
        try file.put("end")
        try file.resize(to: 20 << 20)
        try file.persist(to: target)
        let found = status(of: target)
        let there = try #require(found)
        #expect(there.st_size == 20 << 20 && there.st_blocks <= 64, "\(source): \(there.st_blocks) blocks")
        let bytes = try contents(of: target)
        #expect(text(Array(bytes[..<9])) == "temporary" && text(Array(bytes[(10 << 20)..<(10 << 20) + 3])) == "end")
        #expect(bytes.count { $0 != 0 } == 12)
      }
    }
    unlink(target.string)
  }

  /// As where there is no O_TMPFILE.
  @Test(arguments: [false, true]) func aCopyUnderANameLeavesNoOther(replacing: Bool) throws {
    let sandbox = try Sandbox()
    let path = sandbox.path.appending("target")
    let target = try PersistTarget(path, replacing: replacing, synchronizing: true)
    #expect(throws: Errno.ioError) {
      try target.copyUnderName(permissions: 0o640) { (file) throws(Errno) in
        #expect(sandbox.names.count == 1 && sandbox.names != ["target"])
        throw .ioError
      }
    }
    #expect(sandbox.names == [])
    for content in ["first", "second"] {
      let bytes = Array(content.utf8)
      let fill = { (file: CInt) throws(Errno) in
        let count = bytes.withUnsafeBytes { write(file, $0.baseAddress, $0.count) }
        if count != bytes.count { throw .ioError }
      }
      if content == "second", !replacing {
        #expect(throws: Errno.fileExists) { try target.copyUnderName(permissions: 0o640, fill) }
      } else {
        try target.copyUnderName(permissions: 0o640, fill)
      }
      #expect(sandbox.names == ["target"] && mode(of: path) == 0o640)
    }
    #expect(try text(contents(of: path)) == (replacing ? "second" : "first"))
    unlink(path.string)
  }

  /// Whoever opens the target while it is replaced finds a whole file, always.
  @Test(arguments: [Source.named, .unnamed, .spooledInMemory], places)
  func theTargetIsNeverMissing(source: Source, place: FilePath) throws {
    let sandbox = try Sandbox()
    let other = try Sandbox(in: place)
    let target = other.path.appending("target")
    try with(source, in: sandbox.path) { try $0.persist(to: target) }
    let isDone = Atomic(false)
    let reads = Atomic(0)
    let thread = DispatchGroup()
    DispatchQueue(label: "reader").async(group: thread) {
      while !isDone.load(ordering: .relaxed) {
        guard let bytes = try? contents(of: target), text(bytes) == "temporary" else {
          Issue.record("the target was missing, or not whole")
          return
        }
        reads.add(1, ordering: .relaxed)
      }
    }
    for _ in 0..<300 { try with(source, in: sandbox.path) { try $0.persist(to: target) } }
    while reads.load(ordering: .relaxed) == 0 {}
    isDone.store(true, ordering: .relaxed)
    thread.wait()
    #expect(other.names == ["target"])
    unlink(target.string)
  }
}
