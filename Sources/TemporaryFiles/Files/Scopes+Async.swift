public import SpoolStorage
public import SystemPackage

// Scopes for tasks: what may wait for a disk runs on threads that no task needs, and what has been made is gone afterwards,
// whether the body returns, throws or is cancelled.

/// Runs `body` with a file without a name, which is gone afterwards.
///
/// A task that is cancelled already makes nothing.
///
/// - Returns: what `body` returns.
/// - Throws: `CancellationError` if the task is cancelled already; what `body` throws; else ``TemporaryFileError`` from making
///   and closing the file.
nonisolated(nonsending) public func withTemporaryFile<Result: ~Copyable>(
  in directory: FilePath? = nil, prefix: NameAffix = TemporaryLocation.prefix, suffix: NameAffix = "",
  permissions: FilePermissions = .ownerReadWrite, buffering: Buffering = .standard, maximumSize: Int64? = nil,
  _ body: nonisolated(nonsending) (inout TemporaryFile) async throws -> Result
) async throws -> Result {
  try Task.checkCancellation()
  var file = try await makeOffPool { () throws(TemporaryFileError) in
    try TemporaryFile(
      in: directory, prefix: prefix, suffix: suffix, permissions: permissions, buffering: buffering,
      maximumSize: maximumSize)
  }
  return try await endScope(of: &file, body) { (file) throws(TemporaryFileError) in try file.close() }
}

/// Runs `body` with a named file, which is removed afterwards unless ``NamedTemporaryFile/cleanup-swift.property`` says
/// otherwise.
///
/// A task that is cancelled already makes nothing.
///
/// - Returns: what `body` returns.
/// - Throws: `CancellationError` if the task is cancelled already; what `body` throws; else ``TemporaryFileError`` from making,
///   closing and removing the file.
nonisolated(nonsending) public func withNamedTemporaryFile<Result: ~Copyable>(
  in directory: FilePath? = nil, prefix: NameAffix = TemporaryLocation.prefix, suffix: NameAffix = "",
  permissions: FilePermissions = .ownerReadWrite, buffering: Buffering = .standard,
  cleanup: NamedTemporaryFile.Cleanup = .onClose, maximumSize: Int64? = nil,
  _ body: nonisolated(nonsending) (inout NamedTemporaryFile) async throws -> Result
) async throws -> Result {
  try Task.checkCancellation()
  var file = try await makeOffPool { () throws(TemporaryFileError) in
    try NamedTemporaryFile(
      in: directory, prefix: prefix, suffix: suffix, permissions: permissions, buffering: buffering,
      cleanup: cleanup, maximumSize: maximumSize)
  }
  return try await endScope(of: &file, body) { (file) throws(TemporaryFileError) in try file.endScope() }
}

/// Runs `body` with a file in memory that goes on on disk when it outgrows its threshold, and is gone afterwards.
///
/// A task that is cancelled already makes nothing.
///
/// - Returns: what `body` returns.
/// - Throws: `CancellationError` if the task is cancelled already; what `body` throws; else ``TemporaryFileError`` from making
///   and closing the file.
nonisolated(nonsending) public func withSpooledTemporaryFile<Result: ~Copyable>(
  threshold: SpoolConfiguration.Threshold? = nil, in directory: FilePath? = nil, maximumSize: Int64? = nil,
  store: SpoolStore = .shared, _ body: nonisolated(nonsending) (inout SpooledTemporaryFile) async throws -> Result
) async throws -> Result {
  try Task.checkCancellation()
  var file: SpooledTemporaryFile
  if directory == nil {
    file = try SpooledTemporaryFile(threshold: threshold, maximumSize: maximumSize, store: store)
  } else {
    file = try await makeOffPool { () throws(TemporaryFileError) in
      try SpooledTemporaryFile(threshold: threshold, in: directory, maximumSize: maximumSize, store: store)
    }
  }
  return try await endScope(of: &file, body) { (file) throws(TemporaryFileError) in try file.close() }
}

/// Runs `body`, and `end` in any case. What `body` throws is what counts.
nonisolated(nonsending) private func endScope<File: ~Copyable & Sendable, Result: ~Copyable>(
  of file: inout File, _ body: nonisolated(nonsending) (inout File) async throws -> Result,
  _ end: @escaping @Sendable (inout File) throws(TemporaryFileError) -> Void
) async throws -> Result {
  do {
    let result = try await body(&file)
    try await offPool(lending: &file, end)
    return result
  } catch {
    try? await offPool(lending: &file, end)
    throw error
  }
}
