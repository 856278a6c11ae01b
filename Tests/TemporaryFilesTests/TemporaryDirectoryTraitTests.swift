import Synchronization
import SystemPackage
import TemporaryFilesTesting
import Testing

@testable import TemporaryFiles

@Suite struct TemporaryDirectoryTraitTests {
  private struct Stop: Error {}

  /// Runs `body` as a test with the trait would run, and tells the directory that it had.
  private func scope(
    _ trait: TemporaryDirectoryTrait, _ body: @escaping @Sendable () throws -> Void
  ) async throws -> FilePath {
    let path = Mutex<FilePath?>(nil)
    // Nothing of what is recorded in there is a failure of this test.
    try await IssueHandlingTrait.compactMapIssues { _ in nil }.provideScope(
      for: #require(Test.current), testCase: Test.Case.current
    ) {
      do {
        try await trait.provideScope(for: #require(Test.current), testCase: Test.Case.current) {
          let current = try TemporaryDirectory.current
          path.withLock { $0 = current }
          fill(current)
          try body()
        }
      } catch is Stop {}
    }
    return try #require(path.withLock { $0 })
  }

  @Test(.temporaryDirectory) func aTestHasAnEmptyDirectory() throws {
    let directory = try TemporaryDirectory.current
    #expect(directory.isAbsolute && entries(of: directory) == [] && mode(of: directory) == 0o700)
    #expect(try TemporaryDirectory.current == directory)
  }

  @Test(.temporaryDirectory(prefix: "trait-"), arguments: 0..<10) func eachCaseHasItsOwn(number: Int) throws {
    let directory = try TemporaryDirectory.current
    #expect(directory.lastComponent?.string.hasPrefix("trait-") == true)
    #expect(entries(of: directory) == [])
    makeFile(directory.appending("file"))
  }

  @Test(.temporaryDirectory) func childTasksKnowItAndDetachedOnesDoNot() async throws {
    let directory = try TemporaryDirectory.current
    async let child = TemporaryDirectory.current
    #expect(try await child == directory)
    await #expect(throws: TemporaryFileError.self) {
      try await Task.detached { try TemporaryDirectory.current }.value
    }
  }

  @Test func withoutTheTraitItIsAnError() {
    let error = #expect(throws: TemporaryFileError.self) { try TemporaryDirectory.current }
    #expect(error?.code == .notFound)
  }

  @Test func itGoesWhenTheTestEnds() async throws {
    #expect(!exists(try await scope(.temporaryDirectory) {}))
    #expect(!exists(try await scope(.temporaryDirectory) { throw Stop() }))
    #expect(!exists(try await scope(.temporaryDirectory) { Issue.record("fails") }))
    #expect(!exists(try await scope(.temporaryDirectory(keepOnFailure: true)) {}))
  }

  @Test func itCanBeKeptWhenTheTestFails() async throws {
    for body in [{ throw Stop() }, { _ = Issue.record("fails") }] as [@Sendable () throws -> Void] {
      let path = try await scope(.temporaryDirectory(keepOnFailure: true), body)
      #expect(exists(path.appending("file0")))
      try TreeRemoval.remove(path, FileIdentity(at: path))
    }
    #expect(
      !exists(
        try await scope(.temporaryDirectory(keepOnFailure: true)) {
          Issue.record("only warns", severity: .warning)
        }))
  }

  @Suite(.temporaryDirectory(prefix: "suite-")) struct OfASuite {
    @Test func itsTestsHaveTheirOwn() throws {
      let directory = try TemporaryDirectory.current
      #expect(directory.lastComponent?.string.hasPrefix("suite-") == true)
      makeFile(directory.appending("file"))
    }

    @Test func anotherTestDoesNotSeeIt() throws {
      #expect(entries(of: try TemporaryDirectory.current) == [])
    }

    @Test(.temporaryDirectory(prefix: "test-")) func theTestsOwnCounts() throws {
      #expect(try TemporaryDirectory.current.lastComponent?.string.hasPrefix("test-") == true)
    }

    @Suite struct Nested {
      @Test func suitesInsideHaveItToo() throws {
        #expect(try TemporaryDirectory.current.lastComponent?.string.hasPrefix("suite-") == true)
      }
    }
  }
}
