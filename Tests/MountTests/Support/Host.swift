import CHostCalls
import Foundation
import SystemPackage

/// An open file of the host, closed when dropped.
final class HostFile: Sendable {
  let descriptor: Int32

  init(_ path: String, _ flags: Int32 = O_RDWR, mode: UInt32 = 0o600) throws(Errno) {
    descriptor = Int32(try check(host_open(path, flags, mode)))
  }

  /// O_TMPFILE in `directory`.
  init(unnamedIn directory: String, mode: UInt32 = 0o600) throws(Errno) {
    descriptor = Int32(try check(host_open_unnamed(directory, mode)))
  }

  deinit { close(descriptor) }

  /// pwrite(2).
  func write(_ bytes: [UInt8], at offset: Int64) throws(Errno) {
    let count = try check(host_write(descriptor, bytes, bytes.count, offset))
    if count != bytes.count { throw .ioError }
  }

  /// write(2).
  func append(_ bytes: [UInt8]) throws(Errno) { try check(host_append(descriptor, bytes, bytes.count)) }

  /// pread(2), until the end or `count`.
  func read(_ count: Int, at offset: Int64 = 0) throws(Errno) -> [UInt8] {
    var bytes = [UInt8](repeating: 0xee, count: count)
    let got = try check(host_read(descriptor, &bytes, count, offset))
    return Array(bytes.prefix(Int(got)))
  }

  func resize(to size: Int64) throws(Errno) { try check(host_resize(descriptor, size)) }

  func allocate(_ mode: Int32, at offset: Int64, count: Int64) throws(Errno) {
    try check(host_allocate(descriptor, mode, offset, count))
  }

  func seek(_ offset: Int64, _ whence: Int32) throws(Errno) -> Int64 {
    try check(host_seek(descriptor, offset, whence))
  }

  /// copy_file_range(2).
  func copy(from offset: Int64, to target: HostFile, at targetOffset: Int64, count: Int) throws(Errno) -> Int64 {
    try check(host_copy(descriptor, offset, target.descriptor, targetOffset, count))
  }

  func sync() throws(Errno) { try check(host_sync(descriptor)) }

  var status: host_stat {
    get throws(Errno) {
      try Host.status("/proc/self/fd/\(descriptor)", followingLinks: true)
    }
  }
}

/// System calls by path.
enum Host {
  static func create(_ path: String, _ bytes: [UInt8] = [], mode: UInt32 = 0o600) throws(Errno) {
    let file = try HostFile(path, O_RDWR | O_CREAT | O_TRUNC, mode: mode)
    if !bytes.isEmpty { try file.write(bytes, at: 0) }
  }

  static func contents(_ path: String) throws(Errno) -> [UInt8] {
    let file = try HostFile(path, O_RDONLY)
    var all: [UInt8] = []
    while true {
      let part = try file.read(1 << 16, at: Int64(all.count))
      if part.isEmpty { return all }
      all += part
    }
  }

  static func makeDirectory(_ path: String) throws(Errno) { try check(host_make_directory(path, 0o700)) }
  static func unlink(_ path: String) throws(Errno) { try check(host_unlink(path)) }
  static func removeDirectory(_ path: String) throws(Errno) { try check(host_remove_directory(path)) }
  static func link(_ old: String, _ new: String) throws(Errno) { try check(host_link(old, new)) }
  static func symlink(_ target: String, _ path: String) throws(Errno) { try check(host_make_symlink(target, path)) }
  static func truncate(_ path: String, _ size: Int64) throws(Errno) { try check(host_truncate(path, size)) }
  static func changeMode(_ path: String, _ mode: UInt32) throws(Errno) { try check(host_change_mode(path, mode)) }
  static func changeOwner(_ path: String, _ user: UInt32, _ group: UInt32) throws(Errno) {
    try check(host_change_owner(path, user, group))
  }

  /// - Parameter flags: RENAME_NOREPLACE 1, RENAME_EXCHANGE 2.
  static func rename(_ old: String, _ new: String, flags: UInt32 = 0) throws(Errno) {
    try check(host_rename(old, new, flags))
  }

  static func readlink(_ path: String) throws(Errno) -> String {
    var buffer = [CChar](repeating: 0, count: 4096)
    let count = try check(host_read_symlink(path, &buffer, buffer.count))
    return String(decoding: buffer.prefix(Int(count)).map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  /// lstat(2), or stat(2).
  static func status(_ path: String, followingLinks: Bool = false) throws(Errno) -> host_stat {
    var result = host_stat()
    if followingLinks {
      var target = stat()
      if stat(path, &target) != 0 { throw Errno(rawValue: errno) }
      result.size = Int64(target.st_size)
      result.link_count = UInt32(target.st_nlink)
      result.inode = UInt64(target.st_ino)
      result.blocks = Int64(target.st_blocks)
      result.mode = target.st_mode
      return result
    }
    try check(host_stat(path, &result))
    return result
  }

  static func exists(_ path: String) -> Bool { (try? status(path)) != nil }

  /// Names but "." and "..", sorted.
  static func names(_ path: String) throws(Errno) -> [String] {
    guard let directory = opendir(path) else { throw Errno(rawValue: errno) }
    defer { closedir(directory) }
    var names: [String] = []
    while let entry = readdir(directory) {
      let name = entry.pointee.name
      if name != ".", name != ".." { names.append(name) }
    }
    return names.sorted()
  }
}

extension dirent {
  /// The name up to its NUL.
  var name: String {
    withUnsafeBytes(of: d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
  }
}

/// The result of a `host_` call, or the error it stands for.
@discardableResult
func check(_ result: Int64) throws(Errno) -> Int64 {
  if result < 0 { throw Errno(rawValue: Int32(-result)) }
  return result
}

/// The errno that `body` fails with, nil where it does not.
func failure(_ body: () throws -> Void) -> Errno? {
  do {
    try body()
    return nil
  } catch {
    return error as? Errno
  }
}

/// Bytes that differ from place to place and from seed to seed.
func pattern(_ count: Int, seed: Int = 0) -> [UInt8] {
  let start = seed &* 131 % patternBlock.count
  var bytes = Array(patternBlock[start...])
  bytes.reserveCapacity(count + patternBlock.count)
  while bytes.count < count { bytes += patternBlock }
  bytes.removeLast(bytes.count - min(count, bytes.count))
  return bytes
}

/// Of a prime length, so that no two pages of a pattern are the same.
private let patternBlock = (0..<8191).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 5) }
