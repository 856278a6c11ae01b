internal import Synchronization
public import SystemPackage
public import TemporaryFiles
public import Testing

/// Gives each test a temporary directory of its own, which is removed when the test ends, also if it fails or throws.
///
///     @Test(.temporaryDirectory) func savesItsSettings() throws {
///       let file = try TemporaryDirectory.current.appending("settings")
///       …
///     }
///
/// Each case of a parameterised test gets its own. A suite with this trait gives one to each of its tests, also to those of
/// suites inside. Where the trait is given to a test and to a suite around it, the test's own counts.
public struct TemporaryDirectoryTrait: TestTrait, SuiteTrait, TestScoping {
  private let parent: FilePath?
  private let prefix: NameAffix
  private let keepOnFailure: Bool

  fileprivate init(in parent: FilePath?, prefix: NameAffix, keepOnFailure: Bool) {
    self.parent = parent
    self.prefix = prefix
    self.keepOnFailure = keepOnFailure
  }

  /// Always true: each test of a suite has its own directory.
  public var isRecursive: Bool { true }

  /// Runs a test, or one case of it, with a new directory.
  ///
  /// - Throws: what the test throws, and ``TemporaryFileError`` if the directory cannot be made or removed, which makes the
  ///   test fail.
  public func provideScope(
    for test: Test, testCase: Test.Case?, performing function: @Sendable () async throws -> Void
  ) async throws {
    try await withTemporaryDirectory(in: parent, prefix: prefix) { directory in
      let path = directory.path
      guard keepOnFailure else {
        return try await TemporaryDirectory.$ofTest.withValue(path) { try await function() }
      }
      let failures = FailureObserver()
      do {
        try await TemporaryDirectory.$ofTest.withValue(path) {
          try await failures.observe(test, testCase, function)
        }
      } catch {
        try keep(&directory)
        throw error
      }
      if failures.hasSeenAny { try keep(&directory) }
    }
  }

  private func keep(_ directory: inout TemporaryDirectory) throws {
    guard let path = try? directory.keep() else { return }
    Issue.record("The test's temporary directory is kept: \(path)", severity: .warning)
  }
}

/// Notices whether a test has recorded a failure.
private final class FailureObserver: Sendable {
  private let flag = Atomic(false)

  var hasSeenAny: Bool { flag.load(ordering: .acquiring) }

  func observe(_ test: Test, _ testCase: Test.Case?, _ function: @Sendable () async throws -> Void) async throws {
    let trait: IssueHandlingTrait = .compactMapIssues { issue in
      if issue.isFailure { self.flag.store(true, ordering: .releasing) }
      return issue
    }
    try await trait.provideScope(for: test, testCase: testCase, performing: function)
  }
}

extension Trait where Self == TemporaryDirectoryTrait {
  /// Gives each test a temporary directory of its own: ``TemporaryFiles/TemporaryDirectory/current``.
  public static var temporaryDirectory: Self { .temporaryDirectory() }

  /// Gives each test a temporary directory of its own: ``TemporaryFiles/TemporaryDirectory/current``.
  ///
  /// - Parameters:
  ///   - parent: where it is made; nil: `TemporaryLocation.directory`.
  ///   - prefix: what its name begins with.
  ///   - keepOnFailure: whether the directory of a test that fails stays, with a warning that says where it is.
  public static func temporaryDirectory(
    in parent: FilePath? = nil, prefix: NameAffix = TemporaryLocation.prefix, keepOnFailure: Bool = false
  ) -> Self {
    Self(in: parent, prefix: prefix, keepOnFailure: keepOnFailure)
  }
}

extension TemporaryDirectory {
  @TaskLocal fileprivate static var ofTest: FilePath?

  /// The absolute path of the running test's directory.
  ///
  /// - Throws: `notFound` where no test with the trait ``Testing/Trait/temporaryDirectory`` runs: a detached task and a
  ///   thread of one's own do not know which test they belong to.
  public static var current: FilePath {
    get throws(TemporaryFileError) {
      if let path = ofTest { return path }
      throw TemporaryFileError(
        .notFound, operation: "tell the test's temporary directory",
        message: "this task belongs to no test with the trait .temporaryDirectory")
    }
  }
}
