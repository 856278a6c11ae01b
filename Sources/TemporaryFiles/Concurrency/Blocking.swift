internal import Synchronization

/// Runs `body`, which may wait for a disk, on a thread that no task needs, and returns what it does.
///
/// It is not given up when the task is cancelled: what it makes would have no owner.
nonisolated(nonsending) func offPool<Value: Sendable, Failure: Error>(
  on pool: BlockingPool = .shared, _ body: @escaping @Sendable () throws(Failure) -> Value
) async throws(Failure) -> Value {
  let result: Result<Value, Failure> = await withUnsafeContinuation { continuation in
    pool.submit {
      let result: Result<Value, Failure>
      do throws(Failure) { result = .success(try body()) } catch { result = .failure(error) }
      continuation.resume(returning: result)
    }
  }
  return try result.get()
}

/// Lends `handle` to `body` on a thread that no task needs: how a mutating method of a handle gets an async variant.
///
///     mutating func close() async throws(TemporaryFileError) {
///       try await offPool(lending: &self) { file throws(TemporaryFileError) in try file.close() }
///     }
nonisolated(nonsending) func offPool<Handle: ~Copyable & Sendable, Value: Sendable, Failure: Error>(
  lending handle: inout Handle, on pool: BlockingPool = .shared,
  _ body: @escaping @Sendable (inout Handle) throws(Failure) -> Value
) async throws(Failure) -> Value {
  let box = HandleBox(consume handle)
  do throws(Failure) {
    let value = try await offPool(on: pool) { () throws(Failure) in try body(&box.handle.pointee) }
    handle = box.take()
    return value
  } catch {
    handle = box.take()
    throw error
  }
}

/// Makes a handle on a thread that no task needs.
nonisolated(nonsending) func makeOffPool<Handle: ~Copyable & Sendable, Failure: Error>(
  on pool: BlockingPool = .shared, _ make: @escaping @Sendable () throws(Failure) -> Handle
) async throws(Failure) -> Handle {
  try await offPool(on: pool) { () throws(Failure) in HandleBox(try make()) }.take()
}

/// A handle on its way between threads. Its memory is of our own, so that it is the box that is shared and the handle
/// always has one owner.
private final class HandleBox<Handle: ~Copyable & Sendable>: @unchecked Sendable {
  // One side uses it while the other waits.
  let handle = UnsafeMutablePointer<Handle>.allocate(capacity: 1)
  /// Atomic, since the one that drops the box need not be the one that took the handle.
  private let isTaken = Atomic<Bool>(false)

  init(_ handle: consuming Handle) { self.handle.initialize(to: handle) }

  func take() -> Handle {
    let taken = handle.move()
    isTaken.store(true, ordering: .releasing)
    return taken
  }

  deinit {
    if !isTaken.load(ordering: .acquiring) { handle.deinitialize(count: 1) }
    handle.deallocate()
  }
}
