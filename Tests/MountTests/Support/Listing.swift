import CHostCalls
import Foundation
import SystemPackage

/// A listing that is read piece by piece, by getdents64(2).
final class Listing {
  struct Entry {
    let name: String
    /// Where the listing goes on after it: `d_off`.
    let offset: Int64
  }

  private let directory: HostFile
  private var buffer: [UInt8]
  private var pending: ArraySlice<Entry> = []

  /// - Parameter size: bytes that the kernel may fill at a time; 280 are enough for any entry.
  init(_ path: String, size: Int = 4096) throws(Errno) {
    directory = try HostFile(path, O_RDONLY | O_DIRECTORY)
    buffer = [UInt8](repeating: 0, count: size)
  }

  /// The next entry; nil at the end. "." and ".." are left out.
  func next() throws(Errno) -> Entry? {
    while true {
      if pending.isEmpty { try fill() }
      guard let entry = pending.popFirst() else { return nil }
      if entry.name != ".", entry.name != ".." { return entry }
    }
  }

  /// seekdir(3): what was read ahead is forgotten.
  func seek(to offset: Int64) throws(Errno) {
    pending = []
    _ = try directory.seek(offset, SEEK_SET)
  }

  private func fill() throws(Errno) {
    let count = Int(try check(host_list(directory.descriptor, &buffer, buffer.count)))
    var start = 0
    buffer.withUnsafeBytes { bytes in
      while start < count {
        // linux_dirent64: d_ino, d_off, d_reclen, d_type, d_name.
        let offset = bytes.loadUnaligned(fromByteOffset: start + 8, as: Int64.self)
        let length = Int(bytes.loadUnaligned(fromByteOffset: start + 16, as: UInt16.self))
        let name = bytes[(start + 19)..<(start + length)].prefix { $0 != 0 }
        pending.append(Entry(name: String(decoding: name, as: UTF8.self), offset: offset))
        start += length
      }
    }
  }
}
