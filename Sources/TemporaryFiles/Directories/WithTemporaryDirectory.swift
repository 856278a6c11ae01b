public import SystemPackage

/// Makes a temporary directory, hands it to `body` and removes it with everything in it, whether `body` returns or throws:
/// Python's `with tempfile.TemporaryDirectory() as …`.
///
/// - Parameters:
///   - directory: where it is made; nil: ``TemporaryLocation/directory``.
///   - prefix: what the name begins with, before twelve random characters.
///   - suffix: what it ends with.
///   - permissions: who may do what, less the process's umask.
///   - cleanup: whether it is removed at the end. `body` may change its mind by ``TemporaryDirectory/cleanupPolicy``.
///   - ignoringCleanupErrors: whether something that cannot be removed is left in silence.
///   - body: what to do with the directory; mostly with its ``TemporaryDirectory/path``.
/// - Returns: what `body` returns.
/// - Throws: what `body` throws; else as ``TemporaryDirectory/init(in:prefix:suffix:permissions:cleanup:ignoringCleanupErrors:)``
///   and ``TemporaryDirectory/cleanup()``.
@_disfavoredOverload
public func withTemporaryDirectory<Result: ~Copyable>(
  in directory: FilePath? = nil, prefix: NameAffix = TemporaryLocation.prefix, suffix: NameAffix = "",
  permissions: FilePermissions = .ownerReadWriteExecute, cleanup: TemporaryDirectory.Cleanup = .onScopeExit,
  ignoringCleanupErrors: Bool = false, _ body: (inout TemporaryDirectory) throws -> Result
) throws -> Result {
  var temporary = try TemporaryDirectory(
    in: directory, prefix: prefix, suffix: suffix, permissions: permissions, cleanup: cleanup,
    ignoringCleanupErrors: ignoringCleanupErrors)
  // Disfavoured: where one can wait, a `body` that does not wait would else take this variant, which holds up the thread.
  // When it throws, the directory goes with its owner.
  let result = try body(&temporary)
  if temporary.cleanupPolicy == .onScopeExit { try temporary.cleanup() }
  return result
}

/// Makes a temporary directory, hands it to `body` and removes it with everything in it, whether `body` returns, throws or
/// is cancelled.
///
/// Making and removing take place on threads of their own, as removing a large tree may take long. A task that is cancelled
/// already makes nothing; one that is cancelled later removes what it has made.
///
/// - Returns: what `body` returns.
/// - Throws: `CancellationError` if the task is cancelled already; else as the variant without `async`.
nonisolated(nonsending) public func withTemporaryDirectory<Result: ~Copyable>(
  in directory: FilePath? = nil, prefix: NameAffix = TemporaryLocation.prefix, suffix: NameAffix = "",
  permissions: FilePermissions = .ownerReadWriteExecute, cleanup: TemporaryDirectory.Cleanup = .onScopeExit,
  ignoringCleanupErrors: Bool = false,
  _ body: nonisolated(nonsending) (inout TemporaryDirectory) async throws -> Result
) async throws -> Result {
  try Task.checkCancellation()
  var temporary = try await makeOffPool { () throws(TemporaryFileError) in
    try TemporaryDirectory(
      in: directory, prefix: prefix, suffix: suffix, permissions: permissions, cleanup: cleanup,
      ignoringCleanupErrors: ignoringCleanupErrors)
  }
  do {
    let result = try await body(&temporary)
    try await temporary.cleanupOffPool()
    return result
  } catch {
    try? await temporary.cleanupOffPool()
    throw error
  }
}

extension TemporaryDirectory {
  nonisolated(nonsending) fileprivate mutating func cleanupOffPool() async throws(TemporaryFileError) {
    guard cleanupPolicy == .onScopeExit else { return }
    try await offPool(lending: &self) { directory throws(TemporaryFileError) in try directory.cleanup() }
  }

  /// Removes the directory as ``cleanup()`` does, without holding up the threads that tasks share. It is not given up when
  /// the task is cancelled.
  nonisolated(nonsending) public mutating func cleanup() async throws(TemporaryFileError) {
    try await offPool(lending: &self) { directory throws(TemporaryFileError) in try directory.cleanup() }
  }
}
