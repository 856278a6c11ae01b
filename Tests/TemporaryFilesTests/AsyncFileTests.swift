import Glibc
import SystemPackage
import Testing

@testable import TemporaryFiles

@Suite struct AsyncFileTests {
  private struct Failed: Error {}

  @Test func scopesLeaveNothing() async throws {
    let path = try await withNamedTemporaryFile { file in
      try await file.write(contentsOf: "abc".utf8)
      #expect(access(file.path.string, F_OK) == 0)
      return file.path
    }
    #expect(access(path.string, F_OK) != 0)

    var thrown: FilePath?
    await #expect(throws: Failed.self) {
      try await withNamedTemporaryFile(cleanup: .onScopeExit) { file in
        thrown = file.path
        try await file.close()
        #expect(access(file.path.string, F_OK) == 0)
        throw Failed()
      }
    }
    #expect(access(try #require(thrown).string, F_OK) != 0)
  }

  @Test func readsAndWritesAsTheOthersDo() async throws {
    try await withTemporaryFile { file in
      try await file.write(contentsOf: "one\ntwo".utf8)
      try file.seek(to: 0)
      #expect(try await file.readLine() == Array("one\n".utf8))
      #expect(try await file.read(count: 2) == Array("tw".utf8))
      #expect(try await file.readToEnd() == Array("o".utf8))
      try await file.resize(to: 2)
      try await file.flush()
      #expect(try file.size == 2)
    }
    try await withSpooledTemporaryFile(threshold: .bytes(4)) { file in
      try await file.write([1, 2, 3, 4])
      #expect(file.isRolledOver == false)
      try await file.write([5])
      #expect(file.isRolledOver == true)
      try file.seek(to: 0)
      #expect(try await file.readToEnd() == [1, 2, 3, 4, 5])
    }
  }

  @Test func aCancelledTaskMakesNothing() async throws {
    let task = Task {
      while !Task.isCancelled { await Task.yield() }
      try await withNamedTemporaryFile { _ in _ = Issue.record("the body must not run") }
    }
    task.cancel()
    await #expect(throws: CancellationError.self) { try await task.value }
  }

  @Test func aTaskCancelledInTheBodyLeavesNothing() async throws {
    let (paths, continuation) = AsyncStream.makeStream(of: FilePath.self)
    let task = Task {
      try await withNamedTemporaryFile { file in
        continuation.yield(file.path)
        try await Task.sleep(for: .seconds(1000))
      }
    }
    var iterator = paths.makeAsyncIterator()
    let path = try #require(await iterator.next())
    #expect(access(path.string, F_OK) == 0)
    task.cancel()
    await #expect(throws: CancellationError.self) { try await task.value }
    #expect(access(path.string, F_OK) != 0)
  }

  @Test func aCancelledCopyLeavesTheFileTemporary() async throws {
    try await withTemporaryDirectory { directory in
      let target = directory.path.appending("target")
      let task = Task {
        var file = try SpooledTemporaryFile(threshold: .unlimited)
        try await file.write([UInt8](repeating: 1, count: 1 << 20))
        withUnsafeCurrentTask { $0?.cancel() }
        do throws(TemporaryFileError) {
          try await file.persist(to: target)
          Issue.record("it was not cancelled")
        } catch {
          #expect(error.errno == .canceled)
        }
        #expect(file.isClosed == false)
        #expect(try file.size == 1 << 20)
      }
      try await task.value
      #expect(access(target.string, F_OK) != 0)
    }
  }

  @Test func aThousandTasksAtOnce() async throws {
    try await withThrowingTaskGroup(of: Void.self) { group in
      for number in 0..<1000 {
        group.addTask {
          try await withTemporaryFile { file in
            try await file.write([UInt8(truncatingIfNeeded: number)])
            try file.seek(to: 0)
            #expect(try await file.readToEnd() == [UInt8(truncatingIfNeeded: number)])
          }
        }
      }
      try await group.waitForAll()
    }
  }
}
