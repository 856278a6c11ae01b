import CHostCalls
import Glibc
import SystemPackage

@testable import SpoolFS

/// What a listing owes whoever reads it while names change: each name that stays, once. Of what comes and goes it may tell
/// or not.
struct ListingPromise {
  /// More entries than a listing in a script can have, unless it meets what was made meanwhile.
  static let maximumEntries = 10_000

  /// The names that were there at the beginning and still are, with their inodes.
  private(set) var staying: [[UInt8]: UInt64]
  private var seen: [[UInt8]: Int] = [:]

  init(_ names: [[UInt8]: UInt64]) { staying = names }

  mutating func meet(_ name: [UInt8]) { seen[name, default: 0] += 1 }

  /// Drops the names that `inode` no longer finds as they were.
  mutating func look(_ inode: ([UInt8]) -> UInt64?) {
    staying = staying.filter { inode($0.key) == $0.value }
  }

  /// Says what is wrong; nothing if all is right.
  func verdict(ended: Bool) -> String {
    if !ended { return "it does not end" }
    return staying.keys.filter { seen[$0] != 1 }
      .map { "\(String(decoding: $0, as: UTF8.self)) was listed \(seen[$0] ?? 0) times" }.sorted().joined(
        separator: ", ")
  }
}

/// By getdents64(2).
final class HostListing {
  private let directory: Int32
  private var promise = ListingPromise([:])

  /// Takes over the descriptor.
  init(_ directory: Int32) {
    self.directory = directory
    // The beginning is read by another descriptor, so that this one has read nothing.
    let other = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    defer { close(other) }
    var names: [[UInt8]: UInt64] = [:]
    while case let part = entries(of: other, size: 65_536), !part.isEmpty {
      for name in part { names[name] = inode(name) }
    }
    promise = ListingPromise(names)
  }

  deinit { close(directory) }

  func look() {
    // A directory that was removed lists nothing, although "." and ".." can still be found in it.
    let isRemoved = isRemoved
    promise.look { isRemoved ? nil : inode($0) }
  }

  /// Reads about as many entries.
  func read(_ count: Int) {
    // An entry of a short name takes 24 or 32 bytes; a buffer must have room for the longest.
    for name in entries(of: directory, size: 280 + 24 * count) { promise.meet(name) }
  }

  func end() -> String {
    var left = ListingPromise.maximumEntries
    while left > 0, case let part = entries(of: directory, size: 4096), !part.isEmpty {
      for name in part { promise.meet(name) }
      left -= part.count
    }
    return promise.verdict(ended: left > 0)
  }

  private var isRemoved: Bool {
    var found = Glibc.stat()
    return fstat(directory, &found) == 0 && found.st_nlink == 0
  }

  private func inode(_ name: [UInt8]) -> UInt64? {
    var found = Glibc.stat()
    let result = (name + [0]).withUnsafeBytes {
      fstatat(directory, $0.bindMemory(to: CChar.self).baseAddress!, &found, AT_SYMLINK_NOFOLLOW)
    }
    return result == 0 ? UInt64(found.st_ino) : nil
  }

  /// Empty at the end, and of a directory that was removed.
  private func entries(of directory: Int32, size: Int) -> [[UInt8]] {
    var buffer = [UInt8](repeating: 0, count: size)
    let count = host_list(directory, &buffer, size)
    var names: [[UInt8]] = []
    var start = 0
    while start < Int(count) {
      // linux_dirent64: d_ino, d_off, d_reclen at 16, d_type, d_name at 19.
      let length = Int(buffer[start + 16]) | Int(buffer[start + 17]) << 8
      names.append(Array(buffer[(start + 19)..<(start + length)].prefix { $0 != 0 }))
      start += length
    }
    return names
  }
}

/// By cookies.
final class TreeListing {
  private let tree: FileSystem
  private let directory: SpoolFS.Inode
  private var promise: ListingPromise
  private var cookie: UInt64 = 0

  init(_ tree: FileSystem, _ directory: SpoolFS.Inode) {
    self.tree = tree
    self.directory = directory
    promise = ListingPromise([:])
    promise = ListingPromise(current)
  }

  private var current: [[UInt8]: UInt64] {
    var names: [[UInt8]: UInt64] = [:]
    try? tree.enumerate(directory, after: 0, by: .local(user: 0, group: 0)) { name, inode, _ in
      names[Array(name)] = inode.id
      return true
    }
    return names
  }

  func look() {
    let current = current
    promise.look { current[$0] }
  }

  func read(_ count: Int) { _ = visit(count) }

  func end() -> String {
    let ended = visit(ListingPromise.maximumEntries) < ListingPromise.maximumEntries
    return promise.verdict(ended: ended)
  }

  private func visit(_ count: Int) -> Int {
    var visited = 0
    // One by one: whoever goes on has only the cookie.
    while visited < count {
      let before = visited
      try? tree.enumerate(directory, after: cookie, by: .local(user: 0, group: 0)) { name, _, own in
        promise.meet(Array(name))
        cookie = own
        visited += 1
        return false
      }
      if visited == before { break }
    }
    return visited
  }
}
