import Testing

@testable import SpoolStorage

#if DEBUG
  /// Debug builds end a process that takes locks in two orders.
  @Suite struct LockOrderTests {
    private static func report(_ result: ExitTest.Result?) throws -> String {
      String(decoding: try #require(result).standardErrorContent, as: UTF8.self)
    }

    @Test func `two orders of the same locks end the process, and both are told`() async throws {
      let result = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
        let first = Lock(file: "first", line: 1)
        let second = SharedLock(file: "second", line: 2)
        first.withLock { second.withSharedLock {} }
        second.withExclusiveLock { first.withLock {} }
      }
      let expected = "first:1 is waited for with second:2 held; the other way round before: first:1, then second:2"
      #expect(try Self.report(result).contains(expected))
    }

    @Test func `an order in a circle ends the process, whoever of the threads comes last`() async throws {
      let result = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
        let locks = Three()
        locks.first.withLock { locks.second.withLock {} }
        locks.second.withLock { locks.third.withLock {} }
        let done = EventCount()
        try SystemThread.start(named: "test") {
          locks.third.withLock { locks.first.withLock {} }
          done.signal()
        }
        done.wait(after: 0, timeout: .seconds(20))
      }
      let expected = """
        first:1 is waited for with third:3 held; the other way round before: first:1, then second:2, then third:3
        """
      #expect(try Self.report(result).contains(expected))
    }

    @Test func `a lock that its thread has ends the process`() async throws {
      let result = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
        let lock = SharedLock(file: "shared", line: 1)
        lock.withSharedLock { lock.withSharedLock {} }
      }
      #expect(try Self.report(result).contains("shared:1 is taken twice by one thread"))
    }

    @Test func `a lock that its thread has not ends the process`() async throws {
      let result = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
        Lock(file: "lock", line: 1).unlock()
      }
      #expect(try Self.report(result).contains("lock:1 is given up by a thread that does not hold it"))
    }

    @Test func `what cannot hang is allowed`() async {
      await #expect(processExitsWith: .success) {
        let (first, second) = (Three(), Three())
        // Whoever only tries does not wait.
        first.first.withLock { first.second.withLock {} }
        first.second.withLock {
          let isTaken = first.first.tryLock()
          #expect(isTaken)
          first.first.unlock()
        }
        // Objects of one class have orders of their own.
        first.first.withLock { second.first.withLock {} }
        second.first.withLock { first.first.withLock {} }
        // In any order they are given up.
        first.first.lock()
        first.second.lock()
        first.first.unlock()
        first.second.unlock()
      }
    }
  }

  private final class Three: Sendable {
    let first = Lock(file: "first", line: 1)
    let second = Lock(file: "second", line: 2)
    let third = Lock(file: "third", line: 3)
  }
#endif
