import Glibc
import SystemPackage
import Testing

@testable import TemporaryFiles

@Suite struct TemporaryDirectoryTests {
  private struct Stop: Error {}

  @Test func itIsMadeForItsOwnerAndGoesWithEverythingInIt() throws {
    try withEmptyDirectory { place in
      var directory = try TemporaryDirectory(in: place, prefix: "p-", suffix: "-s")
      let path = directory.path
      #expect(path.removingLastComponent() == place && mode(of: path) == 0o700)
      #expect(path.lastComponent?.string.hasPrefix("p-") == true && path.lastComponent?.string.hasSuffix("-s") == true)
      fill(path, depth: 3)
      #expect(directory.isRemoved == false)
      try directory.cleanup()
      #expect(directory.isRemoved == true && !exists(path))
      #expect(directory.path == path)
    }
  }

  @Test func itCanBeCleanedUpAnyNumberOfTimes() throws {
    try withEmptyDirectory { place in
      var directory = try TemporaryDirectory(in: place)
      for _ in 0..<3 { try directory.cleanup() }
      // What has the name later is not this directory.
      makeDirectory(directory.path)
      try directory.cleanup()
      #expect(exists(directory.path))
      rmdir(directory.path.string)
    }
  }

  @Test func itGoesWhenItsOwnerDoes() throws {
    try withEmptyDirectory { place in
      do {
        let directory = try TemporaryDirectory(in: place)
        fill(directory.path)
      }
      #expect(entries(of: place) == [])
      #expect(throws: Stop.self) {
        let directory = try TemporaryDirectory(in: place)
        fill(directory.path)
        throw Stop()
      }
    }
  }

  @Test func somebodyElseMayHaveRemovedIt() throws {
    try withEmptyDirectory { place in
      var directory = try TemporaryDirectory(in: place)
      rmdir(directory.path.string)
      try directory.cleanup()
      #expect(directory.isRemoved == true)
    }
    var template = Array("/tmp/directories-XXXXXX".utf8CString)
    try #require(mkdtemp(&template) != nil)
    var directory = try TemporaryDirectory(in: FilePath(platformString: template))
    rmdir(directory.path.string)
    rmdir(template)
    try directory.cleanup()
    #expect(directory.isRemoved == true)
  }

  @Test(arguments: ["directory", "file", "link"]) func whatHasTakenItsNameStays(kind: String) throws {
    try withEmptyDirectory { place in
      let own = place.appending("own")
      let path: FilePath
      do {
        var directory = try TemporaryDirectory(in: place)
        path = directory.path
        makeFile(path.appending("file"))
        // Renamed, so that its inode is not given to what comes in its place.
        rename(path.string, own.string)
        switch kind {
        case "directory":
          makeDirectory(path)
          makeFile(path.appending("precious"))
          chmod(path.string, 0o500)
        case "file": makeFile(path)
        default: symlink(own.string, path.string)
        }
        for _ in 0..<2 {
          let error = #expect(throws: TemporaryFileError.self) { try directory.cleanup() }
          #expect(error?.code == .replaced && error?.path == path)
        }
        #expect(directory.isRemoved == false)
        let error = #expect(throws: TemporaryFileError.self) { try directory.keep() }
        #expect(error?.code == .replaced)
      }
      #expect(entries(of: own) == ["file"])
      if kind == "directory" {
        #expect(entries(of: path) == ["precious"] && mode(of: path) == 0o500)
        chmod(path.string, 0o700)
        unlink(path.appending("precious").string)
        rmdir(path.string)
      } else {
        #expect(unlink(path.string) == 0)
      }
      unlink(own.appending("file").string)
      rmdir(own.string)
    }
  }

  @Test func aDirectoryThatIsKeptIsTheCallers() throws {
    try withEmptyDirectory { place in
      let path: FilePath
      do {
        var directory = try TemporaryDirectory(in: place)
        makeFile(directory.path.appending("file"))
        path = try directory.keep()
        #expect(path == directory.path && directory.cleanupPolicy == .never)
      }
      #expect(entries(of: path) == ["file"])
      unlink(path.appending("file").string)
      rmdir(path.string)
      var directory = try TemporaryDirectory(in: place)
      try directory.cleanup()
      let error = #expect(throws: TemporaryFileError.self) { try directory.keep() }
      #expect(error?.code == .notFound)
    }
  }

  @Test func withoutCleanupItStaysUntilItIsAskedFor() throws {
    try withEmptyDirectory { place in
      let path: FilePath
      do {
        let directory = try TemporaryDirectory(in: place, cleanup: .never)
        path = directory.path
      }
      #expect(exists(path))
      rmdir(path.string)
      do {
        var directory = try TemporaryDirectory(in: place, cleanup: .never)
        fill(directory.path)
        try directory.cleanup()
        #expect(!exists(directory.path))
      }
      do {
        var directory = try TemporaryDirectory(in: place, cleanup: .never)
        directory.cleanupPolicy = .onScopeExit
      }
      #expect(entries(of: place) == [])
    }
  }

  @Test func aFailedOneLeavesNothing() throws {
    try withEmptyDirectory { place in
      let gone: FilePath
      do { gone = try TemporaryDirectory(in: place).path }
      let error = #expect(throws: TemporaryFileError.self) { _ = try TemporaryDirectory(in: gone) }
      #expect(error?.code == .notFound && error?.errno == .noSuchFileOrDirectory)
      let refused = #expect(throws: TemporaryFileError.self) { _ = try TemporaryDirectory(in: place, prefix: "a/b") }
      #expect(refused?.code == .invalidName)
    }
  }

  @Test func itsPathIsAbsoluteWhateverTheWorkingDirectoryIsLater() throws {
    var directory = try TemporaryDirectory(in: ".")
    #expect(directory.path.isAbsolute && exists(directory.path))
    try directory.cleanup()
  }

  @Test func aScopeRemovesItOnReturnAndOnThrow() throws {
    try withEmptyDirectory { place in
      let path = try withTemporaryDirectory(in: place) { directory in
        fill(directory.path)
        return directory.path
      }
      #expect(!exists(path))
      #expect(throws: Stop.self) {
        try withTemporaryDirectory(in: place) { directory in
          fill(directory.path)
          throw Stop()
        }
      }
      #expect(entries(of: place) == [])
      let kept = try withTemporaryDirectory(in: place) { try $0.keep() }
      #expect(exists(kept))
      rmdir(kept.string)
      let never = try withTemporaryDirectory(in: place, cleanup: .never) { $0.path }
      #expect(exists(never))
      rmdir(never.string)
      try withTemporaryDirectory(in: place) { try $0.cleanup() }
    }
  }

  @Test func oneInAnotherGoesBeforeOrAfterIt() throws {
    try withEmptyDirectory { place in
      var outer = try TemporaryDirectory(in: place)
      var inner = try TemporaryDirectory(in: outer.path)
      fill(inner.path)
      try outer.cleanup()
      try inner.cleanup()
      #expect(inner.isRemoved == true)
    }
  }
}

@Suite struct AsyncTemporaryDirectoryTests {
  private struct Stop: Error {}

  /// An empty directory that must be empty afterwards, for tests that wait.
  private func withEmptyDirectory(_ body: (FilePath) async throws -> Void) async throws {
    let place = try makeTemporaryDirectory(in: "/tmp", prefix: "directories-")
    try await body(place)
    #expect(rmdir(place.string) == 0, "left behind in \(place): \(entries(of: place) ?? [])")
  }

  @Test func aScopeRemovesItOnReturnAndOnThrow() async throws {
    try await withEmptyDirectory { place in
      let path = try await withTemporaryDirectory(in: place) { directory in
        fill(directory.path)
        await Task.yield()
        #expect(exists(directory.path))
        return directory.path
      }
      #expect(!exists(path))
      await #expect(throws: Stop.self) {
        try await withTemporaryDirectory(in: place) { directory in
          fill(directory.path)
          await Task.yield()
          throw Stop()
        }
      }
      let kept = try await withTemporaryDirectory(in: place) { try $0.keep() }
      #expect(exists(kept))
      rmdir(kept.string)
    }
  }

  @Test func aCancelledTaskMakesNothing() async throws {
    try await withEmptyDirectory { place in
      let task = Task {
        while !Task.isCancelled { await Task.yield() }
        try await withTemporaryDirectory(in: place) { _ in _ = Issue.record("ran") }
      }
      task.cancel()
      await #expect(throws: CancellationError.self) { try await task.value }
      #expect(entries(of: place) == [])
    }
  }

  @Test func cancellationLeavesNothing() async throws {
    try await withEmptyDirectory { place in
      let task = Task {
        try await withTemporaryDirectory(in: place) { directory in
          fill(directory.path, depth: 3)
          try await Task.sleep(for: .seconds(1000))
        }
      }
      while entries(of: place) == [] { await Task.yield() }
      task.cancel()
      await #expect(throws: CancellationError.self) { try await task.value }
      #expect(entries(of: place) == [])
    }
  }

  @Test func aThousandAtOnceAllGo() async throws {
    try await withEmptyDirectory { place in
      try await withThrowingTaskGroup { group in
        for _ in 0..<1000 {
          group.addTask {
            try await withTemporaryDirectory(in: place) { directory in
              makeFile(directory.path.appending("file"))
              await Task.yield()
            }
          }
        }
        try await group.waitForAll()
      }
      #expect(entries(of: place) == [])
    }
  }

  @Test func cleaningUpTwiceDoesNothing() async throws {
    try await withEmptyDirectory { place in
      var directory = try TemporaryDirectory(in: place)
      fill(directory.path, depth: 2)
      try await directory.cleanup()
      try await directory.cleanup()
      #expect(directory.isRemoved == true)
    }
  }
}
