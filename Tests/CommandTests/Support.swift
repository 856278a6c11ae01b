// What the tests of the command share: finding the executable, running programs, a private place for each test, and
// the check that nothing stays behind.

import CSpoolSystem
import Glibc
import Subprocess
import SystemPackage
import TestSupport
import Testing

/// Every suite of this target is nested here, so that they run one after another: each one wants the whole machine.
@Suite(.serialized) enum CommandTests {}

/// How a program ended, and what it said.
struct Outcome: Sendable {
  let status: TerminationStatus
  let output: [UInt8]
  let errorOutput: [UInt8]

  var succeeded: Bool { status.isSuccess }
  var exitCode: Int32? { if case .exited(let code) = status { code } else { nil } }
  var signal: Int32? { if case .signaled(let signal) = status { signal } else { nil } }
  var text: String { String(decoding: output, as: UTF8.self) }
  var errorText: String { String(decoding: errorOutput, as: UTF8.self) }
}

extension Outcome: CustomTestStringConvertible {
  var testDescription: String { "\(status)\nstdout: \(text.suffix(2000))\nstderr: \(errorText.suffix(4000))" }
}

/// A program that has been started and not waited for.
struct RunningProgram: Sendable {
  let process: pid_t
  private let captured: CapturedOutput

  fileprivate init(process: pid_t, captured: CapturedOutput) {
    self.process = process
    self.captured = captured
  }

  /// What it has written so far.
  var textSoFar: String { String(decoding: captured.output.contents, as: UTF8.self) }
  var errorTextSoFar: String { String(decoding: captured.errors.contents, as: UTF8.self) }

  func send(_ signal: Int32) { kill(process, signal) }
}

/// The output goes to files, not pipes: programs left in the background then neither block nor are waited for.
private struct CapturedOutput: Sendable {
  let output = UnnamedFile()
  let errors = UnnamedFile()

  func close() {
    output.close()
    errors.close()
  }
}

private struct UnnamedFile: Sendable {
  let descriptor: FileDescriptor

  init() {
    var template = Array("/var/tmp/output-XXXXXX".utf8CString)
    descriptor = FileDescriptor(rawValue: mkstemp(&template))
    precondition(descriptor.rawValue >= 0, "mkstemp: \(Errno(rawValue: errno))")
    unlink(template)
  }

  var contents: [UInt8] {
    let size = Int((try? descriptor.fileSize()) ?? 0)
    return [UInt8](unsafeUninitializedCapacity: size) { buffer, count in
      count = (try? descriptor.read(fromAbsoluteOffset: 0, into: UnsafeMutableRawBufferPointer(buffer))) ?? 0
    }
  }

  func close() { try? descriptor.close() }
}

extension FileDescriptor {
  /// The file's size, without moving the offset that a running program shares.
  fileprivate func fileSize() throws(Errno) -> Int64 {
    var status = Glibc.stat()
    guard fstat(rawValue, &status) == 0 else { throw Errno(rawValue: errno) }
    return Int64(status.st_size)
  }
}

/// udev gives /dev/fuse to everybody; where there is none the tests do, until the last of them that run at the same time
/// ends.
private enum FuseDevice {
  /// Held with a shared lock by all test processes.
  private static let descriptor = open("/dev/fuse", O_RDWR | O_CLOEXEC)

  /// Whether users can have it, or the tests may give it to them.
  static let canBeOpenToUsers = isOpenToUsers || HostChange.fuseDevice.isAllowed

  private static var isOpenToUsers: Bool {
    guard let status = try? Stat("/dev/fuse") else { return true }
    return status.permissions.contains(.otherReadWrite)
  }

  static func openToUsers() {
    flock(descriptor, LOCK_SH)
    guard !isOpenToUsers, HostChange.fuseDevice.isAllowed else { return }
    chmod("/dev/fuse", 0o666)
    atexit { if flock(FuseDevice.descriptor, LOCK_EX | LOCK_NB) == 0 { chmod("/dev/fuse", 0o600) } }
  }
}

/// The place of one test: a directory with a mount point, a spill directory and a runtime directory of its own, known to
/// every program that the test starts, so that what is left behind can be told from what other tests do.
struct Sandbox: Sendable {
  /// A user without privileges, for tests that run as root.
  static let nobody: uid_t = 65534
  /// As whom to run what should work for everybody: nil, and `nobody` where we may become that and find `spoolfs`.
  static let users: [uid_t?] = {
    let probe = "setpriv --reuid=\(nobody) --regid=\(nobody) --clear-groups test -x '\(executable)' 2>/dev/null"
    guard getuid() == 0, system(probe) == 0, FuseDevice.canBeOpenToUsers else { return [nil] }
    FuseDevice.openToUsers()
    return [nil, nobody]
  }()

  /// The variable by which processes of a sandbox are recognised.
  private static let marker = "SPOOLFS_TEST_SANDBOX"

  /// The `spoolfs` to test: `SPOOLFS_EXECUTABLE`, else the one built together with these tests.
  static let executable: FilePath = {
    if let path = getenv("SPOOLFS_EXECUTABLE") { return FilePath(platformString: path) }
    var own = [CChar](repeating: 0, count: Int(PATH_MAX))
    let length = readlink("/proc/self/exe", &own, own.count - 1)
    precondition(length > 0)
    return FilePath(platformString: own).removingLastComponent().appending("spoolfs")
  }()

  let directory: FilePath
  /// Programs run as this user; nil: as the one who runs the tests.
  let user: uid_t?

  /// An empty directory, for mounts.
  var mountPoint: FilePath { directory.appending("mnt") }
  /// Where files spill to (`SPOOLFS_SPILL_DIR`).
  var spillDirectory: FilePath { directory.appending("spill") }
  /// Where private mount points are made (`SPOOLFS_RUN_DIR`). Nobody else may write there.
  var runtimeDirectory: FilePath { directory.appending("run") }
  /// Anything else that the test needs, on disk.
  var work: FilePath { directory.appending("work") }

  /// Runs `body` with a fresh sandbox, checks that nothing stays behind, and removes it whatever happened.
  static func with<Result>(
    user: uid_t? = nil, _ body: (Sandbox) async throws -> Result
  ) async throws -> Result {
    let sandbox = try Sandbox(user: user)
    let result: Result
    do {
      result = try await body(sandbox)
    } catch {
      await sandbox.remove()
      throw error
    }
    let leftovers = await sandbox.leftovers()
    #expect(leftovers.isEmpty, "left behind: \(leftovers)")
    await sandbox.remove()
    return result
  }

  init(user: uid_t?) throws {
    var template = Array("/var/tmp/spoolfs-test-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw Errno(rawValue: errno) }
    directory = FilePath(platformString: template)
    self.user = user
    for path in [mountPoint, spillDirectory, runtimeDirectory, work] {
      guard mkdir(path.string, 0o700) == 0 else { throw Errno(rawValue: errno) }
    }
    if let user {
      FuseDevice.openToUsers()
      for path in [directory, mountPoint, spillDirectory, runtimeDirectory, work] {
        guard chown(path.string, user, user) == 0 else { throw Errno(rawValue: errno) }
      }
    }
  }

  // MARK: Running programs

  /// Runs `program` to its end.
  ///
  /// - Parameters:
  ///   - program: A path, or a name to look for in `PATH`.
  ///   - environment: Changes to the environment; nil removes a variable.
  @discardableResult
  func run(
    _ program: String, _ arguments: [String], in workingDirectory: FilePath? = nil, environment: [String: String?] = [:]
  ) async throws -> Outcome {
    try await withRunning(program, arguments, in: workingDirectory, environment: environment) { _ in }.outcome
  }

  /// Runs `script` with `sh -c`; `arguments` are its `$1`, `$2` and so on.
  @discardableResult
  func shell(
    _ script: String, _ arguments: [String] = [], in workingDirectory: FilePath? = nil,
    environment: [String: String?] = [:]
  ) async throws -> Outcome {
    try await run("sh", ["-c", script, "sh"] + arguments, in: workingDirectory, environment: environment)
  }

  /// Runs `spoolfs` to its end.
  @discardableResult
  func spoolfs(_ arguments: [String], environment: [String: String?] = [:]) async throws -> Outcome {
    try await run(Self.executable.string, arguments, environment: environment)
  }

  /// Runs `program` to its end as the user who runs the tests.
  func runAsRoot(_ program: String, _ arguments: [String]) async throws -> Outcome {
    try await withRunning([program] + arguments) { _ in }.outcome
  }

  /// Starts `program`, runs `body` beside it, and waits for its end.
  func withRunning<Result: Sendable>(
    _ program: String, _ arguments: [String], in workingDirectory: FilePath? = nil,
    environment: [String: String?] = [:], _ body: (RunningProgram) async throws -> Result
  ) async throws -> (outcome: Outcome, result: Result) {
    try await withRunning(
      commandLine(program, arguments), in: workingDirectory, environment: environment, body)
  }

  private func withRunning<Result: Sendable>(
    _ words: [String], in workingDirectory: FilePath? = nil, environment: [String: String?] = [:],
    _ body: (RunningProgram) async throws -> Result
  ) async throws -> (outcome: Outcome, result: Result) {
    let captured = CapturedOutput()
    defer { captured.close() }
    let finished = try await Subprocess.run(
      words[0].contains("/") ? .path(FilePath(words[0])) : .name(words[0]),
      arguments: Arguments(Array(words.dropFirst())),
      environment: self.environment(adding: environment), workingDirectory: workingDirectory ?? work, input: .none,
      output: .fileDescriptor(captured.output.descriptor, closeAfterSpawningProcess: false),
      error: .fileDescriptor(captured.errors.descriptor, closeAfterSpawningProcess: false)
    ) { execution in
      try await body(RunningProgram(process: execution.processIdentifier.value, captured: captured))
    }
    let outcome = Outcome(
      status: finished.terminationStatus, output: captured.output.contents, errorOutput: captured.errors.contents)
    return (outcome, finished.closureResult)
  }

  /// The program as the sandbox's user.
  ///
  /// Not by Subprocess's `userID`: it calls setgroups(3) after a bare clone3(2), and glibc then waits in the child, now
  /// and then, for threads that only the parent has.
  func commandLine(_ program: String, _ arguments: [String]) -> [String] {
    guard let user else { return [program] + arguments }
    return ["/usr/bin/setpriv", "--reuid=\(user)", "--regid=\(user)", "--clear-groups", "--", program] + arguments
  }

  private func environment(adding changes: [String: String?]) -> Environment {
    var all: [String: String?] = [
      Self.marker: directory.string, "SPOOLFS_SPILL_DIR": spillDirectory.string,
      "SPOOLFS_RUN_DIR": runtimeDirectory.string, "TMPDIR": nil, "TEMP": nil, "TMP": nil, "LC_ALL": "C",
    ]
    all.merge(changes) { $1 }
    return .inherit.updating(
      Dictionary(uniqueKeysWithValues: all.map { (Environment.Key(rawValue: $0.key)!, $0.value) }))
  }

  // MARK: What stays behind

  /// Everything of this sandbox that should be gone when the test has ended: mounts, processes, spill files, private
  /// directories. Daemons may take a moment to end after their mount has gone, so it looks more than once.
  func leftovers() async -> [String] {
    for _ in 0..<200 {
      if currentLeftovers().isEmpty { return [] }
      try? await Task.sleep(for: .milliseconds(50))
    }
    return currentLeftovers()
  }

  private func currentLeftovers() -> [String] {
    let files = [spillDirectory, runtimeDirectory, mountPoint].flatMap { directory in
      directory.entries.map { directory.appending($0).string }
    }
    return mounts.map { "mount \($0.path)" } + processes.map { "process \($0.identifier): \($0.command)" } + files
  }

  /// The mounts below this sandbox.
  var mounts: [MountTableEntry] {
    MountTableEntry.all.filter { $0.path.starts(with: directory) }
  }

  /// The processes that were started in this sandbox, by whomever, and still live.
  var processes: [(identifier: pid_t, command: String)] {
    FilePath("/proc").entries.compactMap { entry in
      guard let identifier = pid_t(entry), identifier != getpid() else { return nil }
      let mark = Array("\(Self.marker)=\(directory)".utf8)
      let variables = FilePath("/proc/\(identifier)/environ").bytes.split(separator: 0)
      let isOurs = variables.contains { $0.elementsEqual(mark) }
      // A server shows its environment to root alone.
      guard isOurs || variables.isEmpty && getuid() != 0 && isServer(identifier) else { return nil }
      let words = FilePath("/proc/\(identifier)/cmdline").bytes.split(separator: 0)
      return (identifier, words.map { String(decoding: $0, as: UTF8.self) }.joined(separator: " "))
    }
  }

  /// Whether it has a guardian that names a mount point of this sandbox.
  private func isServer(_ process: pid_t) -> Bool {
    FilePath("/proc/\(process)/task/\(process)").appending("children").bytes.split(separator: UInt8(ascii: " "))
      .contains {
        let command = FilePath("/proc/\(String(decoding: $0, as: UTF8.self))/cmdline").bytes.split(separator: 0)
        return command.count > 2 && command[1].elementsEqual("guard-mount".utf8)
          && command[2].starts(with: directory.string.utf8)
      }
  }

  func remove() async {
    for process in processes { kill(process.identifier, SIGKILL) }
    for mount in mounts.reversed() { umount2(mount.path.string, Int32(MNT_DETACH)) }
    // What a killed `run` of root's has sealed.
    _ = try? await Subprocess.run(
      .name("chattr"), arguments: ["-R", "-f", "-i", runtimeDirectory.string], output: .discarded, error: .discarded)
    _ = try? await Subprocess.run(
      .name("rm"), arguments: ["-rf", "--one-file-system", directory.string], output: .discarded)
  }
}

/// A line of `/proc/self/mountinfo`.
struct MountTableEntry: Sendable {
  let path: FilePath
  let type: String
  let source: String
  /// The options of the mount and of its filesystem.
  let options: Set<String>

  static var all: [MountTableEntry] {
    FilePath("/proc/self/mountinfo").bytes.split(separator: UInt8(ascii: "\n")).compactMap(MountTableEntry.init)
  }

  private init?(line: ArraySlice<UInt8>) {
    let fields = line.split(separator: UInt8(ascii: " ")).map { String(decoding: $0, as: UTF8.self) }
    guard let dash = fields.firstIndex(of: "-"), dash >= 6, fields.count > dash + 3 else { return nil }
    path = FilePath(Self.unescaped(fields[4]))
    type = fields[dash + 1]
    source = fields[dash + 2]
    options = Set((fields[5] + "," + fields[dash + 3]).split(separator: ",").map(String.init))
  }

  /// Undoes the `\040` by which the kernel writes spaces and the like.
  private static func unescaped(_ field: String) -> String {
    var bytes: [UInt8] = []
    var rest = Array(field.utf8)[...]
    while let byte = rest.popFirst() {
      if byte == UInt8(ascii: "\\"), let code = UInt8(String(decoding: rest.prefix(3), as: UTF8.self), radix: 8) {
        rest = rest.dropFirst(3)
        bytes.append(code)
      } else {
        bytes.append(byte)
      }
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}

extension FilePath {
  /// The names in this directory without `.` and `..`; none if it cannot be read.
  var entries: [String] {
    guard let stream = opendir(string) else { return [] }
    defer { closedir(stream) }
    var names: [String] = []
    while let entry = readdir(stream) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if name != "." && name != ".." { names.append(name) }
    }
    return names.sorted()
  }

  /// The whole file; empty if it cannot be read.
  var bytes: [UInt8] {
    guard let file = try? FileDescriptor.open(self, .readOnly, options: .closeOnExec) else { return [] }
    defer { try? file.close() }
    var bytes: [UInt8] = []
    let piece = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 16, alignment: 16)
    defer { piece.deallocate() }
    while let count = try? file.read(into: piece), count > 0 { bytes.append(contentsOf: piece[..<count]) }
    return bytes
  }

  var exists: Bool { access(string, F_OK) == 0 }

  /// Makes the file, or replaces its contents.
  func write(_ bytes: some Sequence<UInt8>) throws {
    let file = try FileDescriptor.open(
      self, .writeOnly, options: [.create, .truncate, .closeOnExec],
      permissions: [.ownerReadWrite, .groupRead, .otherRead])
    try file.closeAfter { _ = try file.writeAll(bytes) }
  }
}

/// Waits until `condition` holds; false if it does not within half a minute, which only a hang takes.
func eventually(_ condition: () async throws -> Bool) async rethrows -> Bool {
  for _ in 0..<600 {
    if try await condition() { return true }
    try? await Task.sleep(for: .milliseconds(50))
  }
  return false
}
