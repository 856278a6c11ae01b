import Glibc
import Synchronization
import Testing

@testable import TemporaryFiles

@Suite struct BlockingTests {
  private struct Stop: Error, Equatable { let number: Int }

  private struct Handle: ~Copyable, Sendable {
    let drops: Drops
    var value = 0
    deinit { drops.count.add(1, ordering: .relaxed) }
  }

  private final class Drops: Sendable { let count = Atomic(0) }

  private final class Progress: Sendable {
    let running = Atomic(0)
    let most = Atomic(0)
    let isReleased = Atomic(false)
  }

  @Test func whatItReturnsAndThrowsComesBack() async throws {
    #expect(await offPool { 42 } == 42)
    await #expect(throws: Stop(number: 7)) {
      try await offPool { () throws(Stop) -> Int in throw Stop(number: 7) }
    }
  }

  @Test func manyTasksWaitOnFewThreads() async {
    let pool = BlockingPool(limit: 3)
    let progress = Progress()
    let sum = await withTaskGroup(of: Int.self) { group in
      for number in 0..<1000 {
        group.addTask {
          await offPool(on: pool) {
            let running = progress.running.add(1, ordering: .relaxed).newValue
            progress.most.max(running, ordering: .relaxed)
            if number % 100 == 0 { usleep(1000) }
            progress.running.subtract(1, ordering: .relaxed)
            return number
          }
        }
      }
      return await group.reduce(0, +)
    }
    #expect(sum == 1000 * 999 / 2)
    #expect(progress.most.load(ordering: .relaxed) <= 3)
  }

  @Test func tasksGoOnWhileOthersBlock() async {
    // More jobs than there are threads for tasks: if they blocked those, nobody would be left to end them.
    let pool = BlockingPool(limit: 64)
    let progress = Progress()
    await withTaskGroup(of: Void.self) { group in
      for _ in 0..<64 {
        group.addTask {
          await offPool(on: pool) {
            progress.running.add(1, ordering: .relaxed)
            // Long naps: so many threads that look all the time leave no processor to the task that releases them.
            while !progress.isReleased.load(ordering: .acquiring) { usleep(20_000) }
          }
        }
      }
      group.addTask {
        while progress.running.load(ordering: .relaxed) < 64 { await Task.yield() }
        progress.isReleased.store(true, ordering: .releasing)
      }
    }
    #expect(progress.running.load(ordering: .relaxed) == 64)
  }

  @Test func aHandleIsLentAndComesBackOnce() async throws {
    let drops = Drops()
    do {
      var handle = Handle(drops: drops)
      let old = await offPool(lending: &handle) { handle in
        handle.value += 1
        return handle.value - 1
      }
      #expect(old == 0 && handle.value == 1)
      do throws(Stop) {
        try await offPool(lending: &handle) { handle throws(Stop) in
          handle.value = 5
          throw Stop(number: handle.value)
        }
      } catch {
        #expect(error == Stop(number: 5))
      }
      #expect(handle.value == 5)
      #expect(drops.count.load(ordering: .relaxed) == 0)
    }
    #expect(drops.count.load(ordering: .relaxed) == 1)
  }

  @Test func aHandleIsMadeOffThePool() async throws {
    let drops = Drops()
    do {
      let handle = await makeOffPool { Handle(drops: drops, value: 3) }
      #expect(handle.value == 3 && drops.count.load(ordering: .relaxed) == 0)
    }
    #expect(drops.count.load(ordering: .relaxed) == 1)
  }

  @Test func cancellationDoesNotGiveUpAJob() async {
    let task = Task {
      while !Task.isCancelled { await Task.yield() }
      return await offPool { 1 }
    }
    task.cancel()
    #expect(await task.value == 1)
  }
}
