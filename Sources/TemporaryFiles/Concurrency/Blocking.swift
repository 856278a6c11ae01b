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
    let value = try await offPool(on: pool) { () throws(Failure) in try box.lend(body) }
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
  private let handle = UnsafeMutablePointer<Handle>.allocate(capacity: 1)
  /// Whether the handle is in the box. One side uses that while the others wait; here they see what it has done.
  private let isFull = Atomic<Bool>(false)

  init(_ handle: consuming Handle) {
    self.handle.initialize(to: handle)
    isFull.store(true, ordering: .releasing)
  }

  func lend<Value, Failure: Error>(_ body: (inout Handle) throws(Failure) -> Value) throws(Failure) -> Value {
    precondition(isFull.load(ordering: .acquiring))
    defer { isFull.store(true, ordering: .releasing) }
    return try body(&handle.pointee)
  }

  func take() -> Handle {
    precondition(isFull.load(ordering: .acquiring))
    let taken = handle.move()
    isFull.store(false, ordering: .releasing)
    return taken
  }

  deinit {
    if isFull.load(ordering: .acquiring) { handle.deinitialize(count: 1) }
    handle.deallocate()
  }
}
