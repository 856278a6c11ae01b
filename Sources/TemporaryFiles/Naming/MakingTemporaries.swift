public import SystemPackage

/// Makes a file with a new name and opens it for reading and writing: Python's `tempfile.mkstemp()`.
///
/// Nobody else can have opened or made it before: the corresponding system call is open(2) with
/// `O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC`. The caller closes the descriptor and deletes the file;
/// ``NamedTemporaryFile`` does both by itself.
///
/// - Parameters:
///   - directory: where the file is made; nil: ``TemporaryLocation/directory``. A relative path starts from the working
///     directory of now.
///   - prefix: what the name begins with, before twelve random characters.
///   - suffix: what it ends with, such as ".txt"; a dot is not added.
///   - permissions: who may do what, less the process's umask, as with open(2).
/// - Returns: the descriptor, and the file's absolute path.
/// - Throws: `noUsableTemporaryDirectory`; `invalidName` for a slash or NUL in prefix or suffix and for names that are too
///   long; `namesExhausted` when ``TemporaryName/maximumAttempts`` names are taken; `notFound`, `notADirectory`,
///   `permissionDenied`, `noSpace`, `failed` for what the directory answers.
public func makeTemporaryFile(
  in directory: FilePath? = nil, prefix: NameAffix = TemporaryLocation.prefix, suffix: NameAffix = "",
  permissions: FilePermissions = .ownerReadWrite
) throws(TemporaryFileError) -> (descriptor: FileDescriptor, path: FilePath) {
  let template = try NameTemplate(prefix: prefix, suffix: suffix, for: Creation.operation)
  let (file, path) = try Creation.makeNamed(in: Creation.directory(directory), template, permissions: permissions)
  return (FileDescriptor(rawValue: file), path)
}

/// Makes a directory with a new name, which only its owner may enter: Python's `tempfile.mkdtemp()`.
///
/// The corresponding system call is mkdir(2). The caller deletes the directory and what is in it;
/// ``TemporaryDirectory`` does so by itself.
///
/// - Parameters:
///   - directory: where it is made; nil: ``TemporaryLocation/directory``. A relative path starts from the working directory
///     of now.
///   - prefix: what the name begins with, before twelve random characters.
///   - suffix: what it ends with.
///   - permissions: who may do what, less the process's umask, as with mkdir(2).
/// - Returns: the absolute path.
/// - Throws: as ``makeTemporaryFile(in:prefix:suffix:permissions:)``.
public func makeTemporaryDirectory(
  in directory: FilePath? = nil, prefix: NameAffix = TemporaryLocation.prefix, suffix: NameAffix = "",
  permissions: FilePermissions = .ownerReadWriteExecute
) throws(TemporaryFileError) -> FilePath {
  try TemporaryEntry.withUnusedPath(
    in: directory, prefix: prefix, suffix: suffix, for: "make a temporary directory in"
  ) { path throws(Errno) in
    try TemporaryEntry.makeDirectory(path, permissions: permissions)
    return path
  }
}

/// A path that nothing has at the moment: Python's `tempfile.mktemp()`.
///
/// - Throws: as ``makeTemporaryFile(in:prefix:suffix:permissions:)``.
@available(
  *, deprecated,
  message: """
    Somebody else can make a file or a link of that name before you do. Use makeTemporaryFile or makeTemporaryDirectory, \
    which make what they name; for a name that must not exist yet, such as a socket's, take one inside a temporary directory.
    """
)
public func makeTemporaryName(
  in directory: FilePath? = nil, prefix: NameAffix = TemporaryLocation.prefix, suffix: NameAffix = ""
) throws(TemporaryFileError) -> FilePath {
  try TemporaryEntry.withUnusedPath(in: directory, prefix: prefix, suffix: suffix, for: "find a temporary name in") {
    path throws(Errno) in
    try TemporaryEntry.checkIsUnused(path)
    return path
  }
}
