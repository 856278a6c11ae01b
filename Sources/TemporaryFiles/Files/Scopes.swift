public import SpoolStorage
public import SystemPackage

// The variants without `async` are disfavoured: where one can wait, a body that does not would else take one of them, which
// holds up the thread.

/// Runs `body` with a file without a name, which is gone afterwards: Python's `with TemporaryFile(…) as file`.
///
/// - Parameters: as ``TemporaryFile/init(in:prefix:suffix:permissions:buffering:maximumSize:)``.
/// - Returns: what `body` returns.
/// - Throws: what `body` throws, else ``TemporaryFileError`` from making and closing the file.
@_disfavoredOverload
public func withTemporaryFile<Result: ~Copyable>(
  in directory: FilePath? = nil, prefix: NameAffix = TemporaryLocation.prefix, suffix: NameAffix = "",
  permissions: FilePermissions = .ownerReadWrite, buffering: Buffering = .standard, maximumSize: Int64? = nil,
  _ body: (inout TemporaryFile) throws -> Result
) throws -> Result {
  var file = try TemporaryFile(
    in: directory, prefix: prefix, suffix: suffix, permissions: permissions, buffering: buffering,
    maximumSize: maximumSize)
  let result = try body(&file)
  try file.close()
  return result
}

/// Runs `body` with a named file, which is removed afterwards unless ``NamedTemporaryFile/cleanup-swift.property`` says
/// otherwise: Python's `with NamedTemporaryFile(…) as file`.
///
/// - Parameters: as
///   ``NamedTemporaryFile/init(in:prefix:suffix:permissions:buffering:cleanup:maximumSize:)``. With `.onScopeExit`, `body`
///   may close the file, and it is still there until `body` ends.
/// - Returns: what `body` returns.
/// - Throws: what `body` throws, else ``TemporaryFileError`` from making, closing and removing the file.
@_disfavoredOverload
public func withNamedTemporaryFile<Result: ~Copyable>(
  in directory: FilePath? = nil, prefix: NameAffix = TemporaryLocation.prefix, suffix: NameAffix = "",
  permissions: FilePermissions = .ownerReadWrite, buffering: Buffering = .standard,
  cleanup: NamedTemporaryFile.Cleanup = .onClose, maximumSize: Int64? = nil,
  _ body: (inout NamedTemporaryFile) throws -> Result
) throws -> Result {
  var file = try NamedTemporaryFile(
    in: directory, prefix: prefix, suffix: suffix, permissions: permissions, buffering: buffering, cleanup: cleanup,
    maximumSize: maximumSize)
  let result = try body(&file)
  try file.endScope()
  return result
}

/// Runs `body` with a file in memory that goes on on disk when it outgrows its threshold, and is gone afterwards:
/// Python's `with SpooledTemporaryFile(…) as file`.
///
/// - Parameters: as ``SpooledTemporaryFile/init(threshold:in:maximumSize:store:)``.
/// - Returns: what `body` returns.
/// - Throws: what `body` throws, else ``TemporaryFileError`` from making and closing the file.
@_disfavoredOverload
public func withSpooledTemporaryFile<Result: ~Copyable>(
  threshold: SpoolConfiguration.Threshold? = nil, in directory: FilePath? = nil, maximumSize: Int64? = nil,
  store: SpoolStore = .shared, _ body: (inout SpooledTemporaryFile) throws -> Result
) throws -> Result {
  var file = try SpooledTemporaryFile(
    threshold: threshold, in: directory, maximumSize: maximumSize, store: store)
  let result = try body(&file)
  try file.close()
  return result
}

extension NamedTemporaryFile {
  /// What the end of a scope does: closing, and removing unless the file is to stay.
  mutating func endScope() throws(TemporaryFileError) {
    try close()
    if cleanup != .never { try remove() }
  }
}
