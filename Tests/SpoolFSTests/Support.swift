import SpoolStorage
import SystemPackage
import Testing

@testable import SpoolFS

// swift-system has an `Inode` too.
typealias Inode = SpoolFS.Inode

func makeTree(
  threshold: Int64 = 1 << 20, sizeLimit: Int64? = nil, inodeLimit: Int? = nil, xattrs: Bool = false,
  lifetime: FileSystem.Lifetime = .unmount
) throws -> FileSystem {
  var storage = SpoolConfiguration()
  storage.threshold = .bytes(threshold)
  storage.sizeLimit = sizeLimit
  return try FileSystem(
    FileSystem.Configuration(
      storage: storage, inodeLimit: inodeLimit, extendedAttributes: xattrs, lifetime: lifetime))
}

/// An inode of no tree.
func makeInode(_ id: UInt64) -> Inode {
  Inode(
    id: id, kind: .fifo, mode: 0o600, user: 0, group: 0, payload: .special(device: 0), creator: .unknown,
    quota: InodeQuota(limit: nil))
}

/// The errno that `body` fails with, nil if it does not.
func errno<Result>(_ body: () throws -> Result) -> Errno? {
  do {
    _ = try body()
    return nil
  } catch let error as Errno {
    return error
  } catch let error as SpoolFSError {
    return error.errno
  } catch {
    Issue.record("unexpected error \(error)")
    return nil
  }
}

func withName<Result>(_ name: String, _ body: (UnsafeRawBufferPointer) throws -> Result) rethrows -> Result {
  try Array(name.utf8).withUnsafeBytes { try body($0) }
}

let rootCaller = Caller.local(user: 0, group: 0)
let alice = Caller.local(user: 1000, group: 1000)
let bob = Caller.local(user: 1001, group: 1001)

extension FileSystem {
  @discardableResult
  func create(_ name: String, in parent: Inode, mode: UInt32 = 0o644, by caller: Caller = rootCaller) throws -> Inode {
    try withName(name) { try create($0, in: parent, mode: mode, exclusive: true, by: caller) }
  }

  @discardableResult
  func makeDirectory(
    _ name: String, in parent: Inode, mode: UInt32 = 0o755, by caller: Caller = rootCaller
  ) throws -> Inode {
    try withName(name) { try makeDirectory($0, in: parent, mode: mode, by: caller) }
  }

  func unlink(_ name: String, in parent: Inode, by caller: Caller = rootCaller) throws {
    try withName(name) { try unlink($0, in: parent, by: caller) }
  }

  func lookup(_ name: String, in parent: Inode, by caller: Caller = rootCaller) throws -> Inode {
    try withName(name) { try lookup($0, in: parent, by: caller) }
  }

  func rename(
    _ name: String, in parent: Inode, to newName: String, in newParent: Inode, flags: RenameFlags = [],
    by caller: Caller = rootCaller
  ) throws {
    try withName(name) { old in
      try withName(newName) { new in
        try rename(old, in: parent, to: new, in: newParent, flags: flags, by: caller)
      }
    }
  }

  func names(in directory: Inode, after cookie: UInt64 = 2) throws -> [String] {
    var names: [String] = []
    try enumerate(directory, after: cookie, by: rootCaller) { name, _, _ in
      names.append(String(decoding: name, as: UTF8.self))
      return true
    }
    return names
  }
}

extension DirectoryEntry {
  var bytes: [UInt8] { FilePath(root: nil, [name]).bytes }
}
