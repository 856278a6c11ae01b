import SpoolStorage
import TestSupport
import Testing

/// Files of which a processor's caches keep nothing until it is read: what is written to them is copied in another way.
@Suite struct LargeFileTests {
  @Test(arguments: [0, 1, 24, 4095]) func `whole chunks come from any address`(_ shift: Int) throws {
    let file = FileContent(store: try makeStore())
    let piece = 1 << 20
    var expected = pattern(12 * piece)
    let shifted = [UInt8](repeating: 0, count: shift) + expected
    try shifted.withUnsafeBytes { bytes in
      for start in stride(from: 0, to: expected.count, by: piece) {
        let part = UnsafeRawBufferPointer(rebasing: bytes[(shift + start)...].prefix(piece))
        try file.write(part, at: Int64(start))
      }
    }
    try expect(file, reads: expected)
    // Across the ends of chunks.
    let other = pattern(3 * piece, tag: 1)
    try file.write(other, at: 70_001)
    expected.replaceSubrange(70_001..<70_001 + other.count, with: other)
    try expect(file, reads: expected)
  }

  @Test func `a reader sees whole writes`() throws {
    let file = FileContent(store: try makeStore())
    let writes = (0..<4).map { [UInt8](repeating: UInt8($0 + 1), count: 256 << 10) }
    try file.write(pattern(8 << 20), at: 256 << 10)
    try file.write(writes[0], at: 0)
    let complaints = Complaints()
    runThreads(2) { number in
      do {
        if number == 0 {
          for round in 0..<200 { try file.write(writes[round % 3], at: 0) }
          try file.write(writes[3], at: 0)
        }
        while number == 1, complaints.all.isEmpty {
          let bytes = try file.read(256 << 10)
          if !isEqual(bytes, writes[Int(bytes[0]) - 1]) { complaints.add("torn") }
          if bytes[0] == 4 { break }
        }
      } catch {
        complaints.add("\(error)")
      }
    }
    #expect(complaints.all == [])
  }
}
