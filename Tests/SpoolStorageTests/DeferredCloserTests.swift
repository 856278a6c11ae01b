import Glibc
import SystemPackage
import TestSupport
import Testing

@testable import SpoolStorage

@Suite struct DeferredCloserTests {
  /// The process's descriptors of files without a name that are this large.
  private static func descriptors(size: Int) -> Int {
    guard let directory = opendir("/proc/self/fd") else { return 0 }
    defer { closedir(directory) }
    var count = 0
    while let entry = readdir(directory) {
      let name = withUnsafeBytes(of: entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
      var status = stat()
      if let number = Int32(name), fstat(number, &status) == 0, status.st_nlink == 0, status.st_size == size {
        count += 1
      }
    }
    return count
  }

  @Test func `files that end are closed, by another thread where a store says so`() throws {
    for defers in [false, true] {
      let store = try makeStore()
      store.setDefersClosing(defers)
      // A size that no other test has.
      let size = 77_777 + (defers ? 1 : 0)
      for round in 1...3 {
        var files = (0..<50).map { _ in FileContent(store: store, threshold: .bytes(0)) }
        for file in files { try file.write(pattern(size), at: 0) }
        #expect(Self.descriptors(size: size) == 50)
        files.removeAll()
        expectNothingUsed(store)
        if !defers { #expect(Self.descriptors(size: size) == 0, "\(round)") }
        _ = store.closer.drain()
        #expect(Self.descriptors(size: size) == 0, "\(round)")
        #expect(store.closer.pendingPages == 0)
      }
      store.setDefersClosing(false)
    }
  }

  /// What ended files still have there is neither lost nor in the way.
  @Test(.enabled(if: geteuid() == 0, "mounting needs root"))
  func `who finds the disk full waits for files that end`() throws {
    let disk = try SparseImage("ext4", size: 64, space: 80)
    let store = try makeStore(threshold: .bytes(0), directory: disk.path)
    store.setDefersClosing(true)
    for round in 0..<8 {
      let file = FileContent(store: store)
      let bytes = pattern(30 << 20, tag: UInt64(round))
      try file.write(bytes, at: 0)
      try expect(file, reads: Array(bytes[..<1000]), asking: 1000)
    }
    store.setDefersClosing(false)
  }
}
