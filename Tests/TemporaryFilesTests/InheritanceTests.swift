import CSpoolSystem
import Glibc
import SystemPackage
import Testing

@testable import TemporaryFiles

/// What a program that is started gets of our files: nothing, or what it is given.
@Suite struct InheritanceTests {
  /// Runs a shell with these descriptors, and waits for it.
  private static func shell(_ script: String, input: FileDescriptor? = nil, output: FileDescriptor? = nil) throws {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    if let input { posix_spawn_file_actions_adddup2(&actions, input.rawValue, 0) }
    if let output { posix_spawn_file_actions_adddup2(&actions, output.rawValue, 1) }
    let words: [String] = ["/bin/sh", "-c", script]
    let arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) } + [nil]
    defer { arguments.forEach { free($0) } }
    var child = pid_t()
    let spawned = posix_spawn(&child, "/bin/sh", &actions, nil, arguments, environ)
    try #require(spawned == 0)
    var status: CInt = 0
    let ended = waitpid(child, &status, 0)
    try #require(ended == child)
    #expect(status == 0, "the shell ended with \(status)")
  }

  @Test func nothingIsInheritedUnasked() throws {
    let sandbox = try Sandbox()
    let list = sandbox.path.appending("list")
    defer { unlink(list.string) }
    var unnamed = try TemporaryFile(in: sandbox.path)
    var named = try NamedTemporaryFile(in: sandbox.path, prefix: "named")
    var rolled = try SpooledTemporaryFile(threshold: .bytes(0), in: sandbox.path)
    try rolled.put("abc")
    var given = try SpooledTemporaryFile(in: sandbox.path)
    let template = try NameTemplate(prefix: "", suffix: "", for: "")
    let unlinked = try Creation.makeUnlinked(in: sandbox.path, template, permissions: .ownerReadWrite)
    defer { close(unlinked) }
    let reopened = [try unnamed.reopen(), try named.reopen()]
    defer { for file in reopened { try? file.close() } }
    _ = [try unnamed.fileDescriptor(), try named.fileDescriptor(), try given.fileDescriptor()]
    // Each file, a directory of each of two spooled files, one unlinked, and two opened anew.
    #expect(openDescriptors(in: sandbox.path) >= 9)
    try Self.shell("for file in /proc/$$/fd/*; do readlink $file || :; done > '\(list)'")
    let seen = try text(contents(of: list)).split(separator: "\n")
    #expect(!seen.isEmpty && seen.allSatisfy { !$0.hasPrefix(sandbox.path.string) || $0 == list.string })
  }

  /// The child reads four bytes, and writes where it stopped.
  private static func share(_ file: inout some ByteFile & ~Copyable, _ descriptor: FileDescriptor) throws {
    try file.put("one two three")
    try file.seek(to: 0)
    #expect(try text(file.read(count: 4)) == "one ")
    try shell("test \"$(dd bs=1 count=4 2>/dev/null)\" = 'two '; printf 'THR'", input: descriptor, output: descriptor)
    #expect(try file.position == 11)
    #expect(try text(file.read(count: 10)) == "ee")
    try file.put("!")
    #expect(try file.all() == "one two THRee!")
  }

  @Test func aDescriptorThatIsGivenSharesThePosition() throws {
    var spooled = try SpooledTemporaryFile()
    try Self.share(&spooled, spooled.fileDescriptor())
    var unnamed = try TemporaryFile(buffering: .bytes(100))
    try Self.share(&unnamed, unnamed.fileDescriptor())
    var named = try NamedTemporaryFile(buffering: .bytes(100))
    try Self.share(&named, named.fileDescriptor())
  }

  @Test func aDescriptorOpenedAnewDoesNotShareThePosition() throws {
    var file = try TemporaryFile()
    try file.put("one two")
    let other = try file.reopen()
    try Self.shell("printf 'ONE'", output: other)
    try other.close()
    #expect(try file.position == 7)
    #expect(try file.all() == "ONE two")
  }

  /// What others write through a descriptor counts, when the file is cut and when it is moved in.
  @Test func whatAProgramWritesIsInTheFile() throws {
    var file = try SpooledTemporaryFile(threshold: .bytes(1000))
    try file.put("begin ")
    try Self.shell("printf 'from the shell'", output: file.fileDescriptor())
    #expect(try file.size == 20 && file.position == 20)
    try file.resize(to: 10)
    #expect(try file.all() == "begin from")
  }
}
