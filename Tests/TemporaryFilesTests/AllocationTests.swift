import CAllocationCounter
import SystemPackage
import TemporaryFiles
import Testing

/// Reading and writing take no memory from the system's allocator but for what the file itself grows into.
@Suite(.enabled(if: counts_allocations() == 1)) struct AllocationTests {
  private static let rounds = 10_000

  /// The allocations of this thread while `body` runs.
  private func allocations(_ body: () throws -> Void) rethrows -> UInt64 {
    let before = allocations_of_this_thread()
    try body()
    return allocations_of_this_thread() - before
  }

  /// Writes and reads the same KiB again and again, after a first time.
  private func allocationsOfReadingAndWriting<File: ByteFile & ~Copyable>(_ file: inout File) throws -> UInt64 {
    let bytes = [UInt8](repeating: 120, count: 1 << 10)
    return try withUnsafeTemporaryAllocation(byteCount: bytes.count, alignment: 16) { buffer in
      func cycle() throws {
        try file.seek(to: 0)
        try file.write(bytes)
        try file.seek(to: 0)
        let count = try file.read(into: buffer)
        precondition(count == bytes.count)
      }
      try cycle()
      return try allocations { for _ in 0..<Self.rounds { try cycle() } }
    }
  }

  @Test func allocationsAreCounted() throws {
    #expect(allocations { UnsafeMutableRawPointer.allocate(byteCount: 1 << 10, alignment: 16).deallocate() } == 1)
    #expect(try allocations { _ = try SpooledTemporaryFile() } > 0)
  }

  @Test func readingAndWritingInMemoryAllocatesNothing() throws {
    var file = try SpooledTemporaryFile()
    #expect(try allocationsOfReadingAndWriting(&file) == 0)
    let isRolledOver = file.isRolledOver
    #expect(!isRolledOver)
  }

  @Test func readingAndWritingAFileAllocatesNothing() throws {
    var unnamed = try TemporaryFile()
    #expect(try allocationsOfReadingAndWriting(&unnamed) == 0)
    var named = try NamedTemporaryFile()
    #expect(try allocationsOfReadingAndWriting(&named) == 0)
  }
}
