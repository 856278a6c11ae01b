internal import CSpoolSystem
internal import Glibc
internal import SpoolStorage
public import SystemPackage

extension NamedTemporaryFile {
  /// Makes the file permanent under another path, and closes it.
  ///
  /// On the same filesystem it is renamed. On another one it is copied into the target's directory, sharing blocks where
  /// that is possible, and renamed there. At every moment the target is what it was before, or the complete file.
  ///
  /// What a directory gives to files that are made in it, the file gets as well: the group of a set-group-ID directory, and
  /// the access control list of one with a default list. A user who may not give the file to that group copies it.
  ///
  /// - Parameters:
  ///   - target: the new path.
  ///   - replacing: whether a file that is there already is replaced.
  ///   - synchronize: whether the file and its name are on the disk afterwards (`fsync`).
  ///   - permissions: nil leaves those that the file has.
  ///   - copying: whether it may be copied, to another filesystem or for another group; `crossDevice` or `permissionDenied`
  ///     is thrown otherwise.
  /// - Throws: `alreadyExists`, `crossDevice`, `notFound`, `noSpace`, `replaced`, `closed` and others; the file is then
  ///   still there, open, and temporary.
  public mutating func persist(
    to target: FilePath, replacing: Bool = true, synchronize: Bool = false, permissions: FilePermissions? = nil,
    copying: Bool = true
  ) throws(TemporaryFileError) {
    try persist(to: target, PersistOptions(replacing, synchronize, permissions, copying: copying))
  }

  mutating func persist(to target: FilePath, _ options: PersistOptions) throws(TemporaryFileError) {
    let target = try options.open(target)
    let identity: FileIdentity?
    do throws(Errno) { identity = try self.identity } catch { throw channel.failure(error, PersistTarget.operation) }
    let staysInPlace = identity != nil && target.isNamed(by: path)
    try channel.bytes.persist(to: target, options, movingFrom: identity == nil ? nil : path, identity)
    try didPersist(inPlace: staysInPlace)
  }
}

extension TemporaryFile {
  /// Gives the file a name, which makes it permanent, and closes it.
  ///
  /// On the same filesystem it is linked there, on another one copied. At every moment the target is what it was before,
  /// or the complete file. The arguments are those of ``NamedTemporaryFile``'s.
  ///
  /// - Throws: `alreadyExists`, `crossDevice`, `notFound`, `noSpace`, `closed` and others; the file is then still open,
  ///   and temporary.
  public mutating func persist(
    to target: FilePath, replacing: Bool = true, synchronize: Bool = false, permissions: FilePermissions? = nil,
    copying: Bool = true
  ) throws(TemporaryFileError) {
    try persist(to: target, PersistOptions(replacing, synchronize, permissions, copying: copying))
  }

  mutating func persist(to target: FilePath, _ options: PersistOptions) throws(TemporaryFileError) {
    try channel.bytes.persist(to: options.open(target), options)
    try close()
  }
}

extension SpooledTemporaryFile {
  /// Writes the file to a path, where it is permanent, and closes it.
  ///
  /// A file that is on the disk of that path already is linked there, any other is copied. At every moment the target is
  /// what it was before, or the complete file. The arguments are those of ``NamedTemporaryFile``'s; the permissions are
  /// 0600 unless given.
  ///
  /// - Throws: `alreadyExists`, `notFound`, `noSpace`, `closed` and others; the file is then still open, and temporary.
  public mutating func persist(
    to target: FilePath, replacing: Bool = true, synchronize: Bool = false, permissions: FilePermissions? = nil
  ) throws(TemporaryFileError) {
    try persist(to: target, PersistOptions(replacing, synchronize, permissions))
  }

  mutating func persist(to target: FilePath, _ options: PersistOptions) throws(TemporaryFileError) {
    try channel.bytes.persist(to: options.open(target), options)
    try close()
  }
}

/// How a file becomes permanent.
struct PersistOptions: Sendable {
  let isReplacing: Bool
  let isSynchronizing: Bool
  let permissions: FilePermissions?
  let isCopying: Bool
  /// Asked now and then while bytes are copied.
  var isCancelled: @Sendable () -> Bool = { false }

  init(_ replacing: Bool, _ synchronizing: Bool, _ permissions: FilePermissions?, copying: Bool = true) {
    isReplacing = replacing
    isSynchronizing = synchronizing
    self.permissions = permissions
    isCopying = copying
  }

  func open(_ target: FilePath) throws(TemporaryFileError) -> PersistTarget {
    try PersistTarget(target, replacing: isReplacing, synchronizing: isSynchronizing)
  }
}

extension PositionedBytes {
  /// Makes the bytes permanent; they stay where they are as well.
  ///
  /// - Parameter source: the file's own name, if it has one.
  func persist(
    to target: borrowing PersistTarget, _ options: PersistOptions, movingFrom source: FilePath? = nil,
    _ identity: FileIdentity? = nil
  ) throws(TemporaryFileError) {
    let path = target.path
    try wrap(PersistTarget.operation, path) { () throws(Errno) in try flush() }
    if let source, let identity { try Self.check(source, identity, before: path) }
    try wrap(PersistTarget.operation, path) { () throws(Errno) in
      if try place(at: target, options, movingFrom: source) { return }
      if !options.isCopying { throw .improperLink }
      try copy(to: target, options.permissions, options.isCancelled)
    }
  }

  /// Makes sure that what is to be renamed still is the temporary file.
  private static func check(
    _ source: FilePath, _ identity: FileIdentity, before target: FilePath
  ) throws(TemporaryFileError) {
    do throws(Errno) {
      if try FileIdentity(at: source) == identity { return }
    } catch {
      throw TemporaryFileError(
        .init(error), operation: PersistTarget.operation, path: target, errno: error,
        message: "the temporary file \(source.string) cannot be found: \(error)")
    }
    throw TemporaryFileError(
      .replaced, operation: PersistTarget.operation, path: target, errno: .staleNFSFileHandle,
      message: "another file has taken the name of the temporary one, \(source.string)")
  }

  /// Renames or links the file to the target. Returns false where only a copy can get there.
  private func place(
    at target: borrowing PersistTarget, _ options: PersistOptions, movingFrom source: FilePath?
  ) throws(Errno) -> Bool {
    guard let file = try linkable else { return false }
    // It was made in another directory, and is to be as if it were made here. Where it stays, it was.
    let inherited = source.map { target.isNamed(by: $0) } == true ? nil : try target.inheritance
    let before = try AccessAttributes(of: file, withAccessList: inherited?.accessList != nil)
    var wanted = before
    if let permissions = options.permissions { wanted.mode = mode_t(permissions.rawValue) }
    if let group = inherited?.group { wanted.group = group }
    if let list = inherited?.accessList { wanted.accessList = list }
    do throws(Errno) {
      try wanted.apply(to: file, over: before)
    } catch {
      before.restore(to: file, over: wanted)
      // Whoever may not give a file to a group may make one for it.
      if options.isCopying { return false }
      throw error
    }
    do throws(Errno) {
      if let source { try target.move(from: source, file) } else { try target.link(file) }
      return true
    } catch {
      before.restore(to: file, over: wanted)
      // ENOENT: it had a name once, or there is no /proc; EPERM and others: filesystems without links.
      if error == .improperLink || source == nil && Self.meansNoLinks(error) { return false }
      throw error
    }
  }

  private static func meansNoLinks(_ error: Errno) -> Bool {
    [.noSuchFileOrDirectory, .notPermitted, .notSupported, .invalidArgument].contains(error)
  }

  /// A descriptor whose file holds the bytes as they are.
  private var linkable: CInt? {
    get throws(Errno) {
      if let descriptor { return descriptor }
      guard let content, content.isRolledOver else { return nil }
      // What is on disk may not be the bytes as they are, or the disk does not take all of them: then they are copied.
      do throws(Errno) { return try content.exposeDescriptor() } catch { return nil }
    }
  }

  private func copy(
    to target: borrowing PersistTarget, _ permissions: FilePermissions?, _ isCancelled: () -> Bool
  ) throws(Errno) {
    var mode: mode_t = 0o600
    if let descriptor { mode = try Descriptor.status(descriptor).st_mode & 0o777 }
    if let permissions { mode = mode_t(permissions.rawValue) }
    try target.copy(permissions: mode) { (copy) throws(Errno) in
      if let content { return try Copying.copy(content, to: copy, isCancelled: isCancelled) }
      guard let particulars else { throw .badFileDescriptor }
      switch particulars.place {
      case .nowhere: throw .badFileDescriptor
      case .descriptor(let file): try Copying.copy(file.number, to: copy, isCancelled: isCancelled)
      case .backing(let owned): try Copying.copy(owned.backing, to: copy, isCancelled: isCancelled)
      }
    }
  }
}
