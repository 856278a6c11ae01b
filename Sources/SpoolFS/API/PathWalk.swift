import SpoolStorage
internal import SystemPackage

// Path resolution (path_resolution(7)) for callers in this process. Through a mount the kernel does this.

extension FileSystem {
  /// The kernel's limit on symbolic links followed in one walk (MAXSYMLINKS).
  private static let maximumLinks = 40

  /// The last step of a path: the directory, and the name in it.
  struct Place {
    let parent: Inode
    let name: [UInt8]

    func withName<Result, Failure: Error>(
      _ body: (UnsafeRawBufferPointer) throws(Failure) -> Result
    ) throws(Failure) -> Result {
      var outcome: Swift.Result<Result, Failure>?
      name.withUnsafeBytes { bytes in
        do throws(Failure) { outcome = .success(try body(bytes)) } catch { outcome = .failure(error) }
      }
      return try outcome!.get()
    }
  }

  /// The inode at `path`; relative paths begin at the root.
  ///
  /// - Throws: ENOENT, ENOTDIR, ELOOP, EACCES, ENAMETOOLONG.
  func resolve(_ path: FilePath, followingLast: Bool = true, by caller: Caller) throws(Errno) -> Inode {
    try walk(Self.components(of: path), from: root, followingLast: followingLast, by: caller)
  }

  /// Where the last component of `path` lies, or is to lie.
  ///
  /// - Throws: as `resolve`; EINVAL where the path ends in "." or "..", EEXIST for the root.
  func place(of path: FilePath, by caller: Caller) throws(Errno) -> Place {
    var components = Self.components(of: path)
    guard let name = components.popLast() else { throw .fileExists }
    if name == Array(".".utf8) || name == Array("..".utf8) { throw .invalidArgument }
    return try makePlace(name, in: walk(components, from: root, followingLast: true, by: caller), by: caller)
  }

  /// A place in `parent`, which must be a directory that `caller` may search.
  private func makePlace(_ name: [UInt8], in parent: Inode, by caller: Caller) throws(Errno) -> Place {
    try parent.lock.withLock { () throws(Errno) in
      _ = try parent.directoryLocked()
      try parent.checkAccessLocked(.execute, by: caller)
    }
    return Place(parent: parent, name: name)
  }

  /// The place that `path` means to open(2) with O_CREAT, and the inode if there is one. A link at the end is followed
  /// even to a file that is not there yet.
  func find(
    _ path: FilePath, followingLast: Bool, by caller: Caller
  ) throws(Errno) -> (place: Place, inode: Inode?) {
    var place = try place(of: path, by: caller)
    for _ in 0...Self.maximumLinks {
      guard let inode = try find(place, by: caller) else { return (place, nil) }
      guard inode.kind == .symbolicLink, followingLast else { return (place, inode) }
      let target = FilePath(bytes: try target(of: inode).bytes)
      var components = Self.components(of: target)
      guard let name = components.popLast(), name != Array(".".utf8), name != Array("..".utf8) else {
        throw .isDirectory
      }
      let start = target.isAbsolute ? root : place.parent
      place = try makePlace(name, in: walk(components, from: start, followingLast: true, by: caller), by: caller)
    }
    throw .tooManySymbolicLinkLevels
  }

  private func find(_ place: Place, by caller: Caller) throws(Errno) -> Inode? {
    do throws(Errno) {
      return try place.withName { name throws(Errno) in try lookup(name, in: place.parent, by: caller) }
    } catch .noSuchFileOrDirectory {
      return nil
    }
  }

  private func walk(
    _ components: [[UInt8]], from start: Inode, followingLast: Bool, by caller: Caller
  ) throws(Errno) -> Inode {
    var place = start
    var pending = Array(components.reversed())
    var links = 0
    while let name = pending.popLast() {
      if name == Array(".".utf8) || name == Array("..".utf8) {
        place = try place.lock.withLock { () throws(Errno) in
          _ = try place.directoryLocked()
          try place.checkAccessLocked(.execute, by: caller)
          return name.count == 1 ? place : place.parent ?? place
        }
        continue
      }
      let next = try Place(parent: place, name: name).withName { bytes throws(Errno) in
        try lookup(bytes, in: place, by: caller)
      }
      guard next.kind == .symbolicLink, followingLast || !pending.isEmpty else {
        place = next
        continue
      }
      links += 1
      if links > Self.maximumLinks { throw .tooManySymbolicLinkLevels }
      let target = FilePath(bytes: try target(of: next).bytes)
      if target.isAbsolute { place = root }
      pending += Self.components(of: target).reversed()
    }
    return place
  }

  /// The components as bytes.
  private static func components(of path: FilePath) -> [[UInt8]] {
    path.bytes.split(separator: UInt8(ascii: "/")).map(Array.init)
  }
}

extension FilePath {
  /// The bytes without the NUL.
  package var bytes: [UInt8] {
    withPlatformString { pointer in
      var bytes: [UInt8] = []
      var place = pointer
      while place.pointee != 0 {
        bytes.append(UInt8(bitPattern: place.pointee))
        place += 1
      }
      return bytes
    }
  }

  /// A path of these bytes, up to the first NUL.
  init(bytes: [UInt8]) {
    let terminated = bytes.map { CChar(bitPattern: $0) } + [0]
    self = terminated.withUnsafeBufferPointer { FilePath(platformString: $0.baseAddress!) }
  }
}
