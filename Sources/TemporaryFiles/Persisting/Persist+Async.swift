internal import Synchronization
public import SystemPackage

extension NamedTemporaryFile {
  /// Makes the file permanent under another path, and closes it, without holding up the threads that tasks share.
  ///
  /// - Throws: as the variant without `async`; `failed` with ECANCELED when the task is cancelled while the file is copied.
  ///   The file is then still there, open, and temporary.
  nonisolated(nonsending) public mutating func persist(
    to target: FilePath, replacing: Bool = true, synchronize: Bool = false, permissions: FilePermissions? = nil,
    copying: Bool = true
  ) async throws(TemporaryFileError) {
    try await persistOffPool(&self, PersistOptions(replacing, synchronize, permissions, copying: copying)) {
      (file, options) throws(TemporaryFileError) in try file.persist(to: target, options)
    }
  }
}

extension TemporaryFile {
  /// Gives the file a name, which makes it permanent, and closes it, without holding up the threads that tasks share.
  ///
  /// - Throws: as the variant without `async`; `failed` with ECANCELED when the task is cancelled while the file is copied.
  ///   The file is then still open, and temporary.
  nonisolated(nonsending) public mutating func persist(
    to target: FilePath, replacing: Bool = true, synchronize: Bool = false, permissions: FilePermissions? = nil,
    copying: Bool = true
  ) async throws(TemporaryFileError) {
    try await persistOffPool(&self, PersistOptions(replacing, synchronize, permissions, copying: copying)) {
      (file, options) throws(TemporaryFileError) in try file.persist(to: target, options)
    }
  }
}

extension SpooledTemporaryFile {
  /// Writes the file to a path, where it is permanent, and closes it, without holding up the threads that tasks share.
  ///
  /// - Throws: as the variant without `async`; `failed` with ECANCELED when the task is cancelled while the file is copied.
  ///   The file is then still open, and temporary.
  nonisolated(nonsending) public mutating func persist(
    to target: FilePath, replacing: Bool = true, synchronize: Bool = false, permissions: FilePermissions? = nil
  ) async throws(TemporaryFileError) {
    try await persistOffPool(&self, PersistOptions(replacing, synchronize, permissions)) {
      (file, options) throws(TemporaryFileError) in try file.persist(to: target, options)
    }
  }
}

/// Runs `body`, which looks now and then whether the task has been cancelled.
nonisolated(nonsending) private func persistOffPool<File: ~Copyable & Sendable>(
  _ file: inout File, _ options: PersistOptions,
  _ body: @escaping @Sendable (inout File, PersistOptions) throws(TemporaryFileError) -> Void
) async throws(TemporaryFileError) {
  let cancellation = Cancellation()
  var options = options
  options.isCancelled = { cancellation.hasHappened.load(ordering: .relaxed) }
  let outcome: Result<Void, TemporaryFileError> = await withTaskCancellationHandler { [options] in
    do throws(TemporaryFileError) {
      try await offPool(lending: &file) { (file) throws(TemporaryFileError) in try body(&file, options) }
      return .success(())
    } catch {
      return .failure(error)
    }
  } onCancel: {
    cancellation.hasHappened.store(true, ordering: .relaxed)
  }
  try outcome.get()
}

private final class Cancellation: Sendable {
  let hasHappened = Atomic(false)
}
