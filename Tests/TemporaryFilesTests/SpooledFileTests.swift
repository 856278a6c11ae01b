import CSpoolSystem
import Glibc
import SystemPackage
import Testing

@testable import TemporaryFiles

@Suite struct SpooledFileTests {
  private func store(budget: Int64 = 1 << 30, sizeLimit: Int64? = nil) throws -> SpoolStore {
    try SpoolStore(
      SpoolConfiguration(memoryBudget: budget, spillDirectory: "/var/tmp", sizeLimit: sizeLimit))
  }

  @Test func theWriteThatExceedsTheThresholdMovesTheFile() throws {
    var file = try SpooledTemporaryFile(threshold: .bytes(30))
    try file.write([UInt8](repeating: 1, count: 20))
    #expect(file.isRolledOver == false && file.mode == "w+b" && file.mayBlock == false)
    try file.write([UInt8](repeating: 1, count: 10))
    #expect(file.isRolledOver == false)
    try file.write([])
    #expect(file.isRolledOver == false)
    try file.write([2])
    #expect(file.isRolledOver == true && file.mode == "rb+" && file.mayBlock == true)
    #expect(try file.position == 31 && file.size == 31 && file.path == nil)
    try file.seek(to: -2, from: .end)
    #expect(try file.readToEnd() == [1, 2])
  }

  @Test func rewritingBelowTheThresholdStaysInMemory() throws {
    var file = try SpooledTemporaryFile(threshold: .bytes(30))
    for _ in 0..<5 {
      try file.seek(to: 0)
      try file.write([UInt8](repeating: 1, count: 30))
    }
    #expect(file.isRolledOver == false)
    try file.seek(to: 29)
    try file.write([1, 1])
    #expect(file.isRolledOver == true)
  }

  @Test func linesRollInTheMiddle() throws {
    var file = try SpooledTemporaryFile(threshold: .bytes(35))
    try file.writeLines([20, 10, 5].map { [UInt8](repeating: 1, count: $0) })
    #expect(file.isRolledOver == false)
    try file.writeLines([[1], [2]] as [[UInt8]])
    #expect(file.isRolledOver == true)
    #expect(try file.size == 37)
  }

  @Test func aThresholdOfNothingIsDiskFromTheFirstByte() throws {
    for threshold in [Int64(0), -1, .min] {
      var file = try SpooledTemporaryFile(threshold: .bytes(threshold))
      #expect(file.isRolledOver == false)
      try file.write([1])
      #expect(file.isRolledOver == true)
    }
  }

  @Test func seekingPastTheThresholdDoesNotMoveIt() throws {
    var file = try SpooledTemporaryFile(threshold: .bytes(30))
    #expect(try file.seek(to: 100) == 100)
    #expect(file.isRolledOver == false)
    #expect(try file.readToEnd() == [])
    #expect(file.isRolledOver == false)
    try file.write([1])
    #expect(file.isRolledOver == true)
    #expect(try file.all() == String(repeating: ".", count: 100) + "\u{1}")
  }

  @Test func resizingPastTheThresholdMovesIt() throws {
    var file = try SpooledTemporaryFile(threshold: .bytes(10))
    try file.put("abcdefg\n")
    try file.resize(to: 10)
    #expect(file.isRolledOver == false)
    try file.resize(to: 4)
    #expect(file.isRolledOver == false)
    try file.resize(to: 11)
    #expect(file.isRolledOver == true)
    #expect(try file.position == 8 && file.all() == "abcd.......")
  }

  @Test func cutToNothingItBeginsAgainInMemory() throws {
    var file = try SpooledTemporaryFile(threshold: .bytes(10))
    try file.write([UInt8](repeating: 1, count: 11))
    #expect(file.isRolledOver == true)
    try file.resize(to: 0)
    #expect(try file.isRolledOver == false && file.position == 11)
    try file.seek(to: 0)
    try file.put("abc")
    #expect(try file.isRolledOver == false && file.all() == "abc")
  }

  @Test func rollingOverByHandWorksAtAnyTimeAndOnce() throws {
    let store = try store()
    var file = try SpooledTemporaryFile(threshold: .unlimited, store: store)
    try file.rollOver()
    #expect(try file.isRolledOver == true && file.position == 0 && file.size == 0)
    try file.put("abc")
    try file.seek(to: 1)
    for _ in 0..<3 { try file.rollOver() }
    #expect(store.usage.rollovers == 1)
    #expect(try file.position == 1 && text(file.readToEnd()) == "bc")
    try file.close()
    failure(.closed) { () throws(TemporaryFileError) in try file.rollOver() }
    failure(.closed) { () throws(TemporaryFileError) in _ = try file.fileDescriptor() }
    failure(.closed) { () throws(TemporaryFileError) in _ = try file.reader() }
    #expect(file.isRolledOver == false)
  }

  @Test func theDescriptorMovesItAndSharesThePosition() throws {
    var file = try SpooledTemporaryFile(threshold: .bytes(30))
    try file.put("abcdef")
    try file.seek(to: 2)
    let descriptor = try file.fileDescriptor()
    #expect(file.isRolledOver == true)
    #expect(try file.fileDescriptor() == descriptor)
    #expect(fcntl(descriptor.rawValue, F_GETFD) == FD_CLOEXEC)
    #expect(try descriptor.seek(offset: 0, from: .current) == 2)
    #expect(try text(file.read(count: 1)) == "c")
    #expect(try descriptor.seek(offset: 0, from: .current) == 3)
    try descriptor.writeAll("XY".utf8)
    #expect(try file.position == 5)
    try file.put("Z!")
    #expect(try descriptor.seek(offset: 0, from: .current) == 7)
    try descriptor.seek(offset: 0, from: .start)
    #expect(try text(file.readToEnd()) == "abcXYZ!")
    try file.resize(to: 0)
    #expect(file.isRolledOver == true)
    try file.close()
    #expect(fcntl(descriptor.rawValue, F_GETFD) == -1)
  }

  @Test func holesStayHoles() throws {
    var file = try SpooledTemporaryFile(threshold: .unlimited)
    for place in [Int64(0), 1 << 20, 3 << 20] {
      try file.seek(to: place)
      try file.write([1])
    }
    try file.resize(to: 8 << 20)
    let descriptor = try file.fileDescriptor().rawValue
    #expect(try Descriptor.status(descriptor).st_blocks == 3 * 8)
    #expect(lseek(descriptor, 4096, SEEK_DATA) == 1 << 20)
    #expect(lseek(descriptor, 1 << 20, SEEK_HOLE) == (1 << 20) + 4096)
    #expect(lseek(descriptor, (1 << 20) + 4096, SEEK_DATA) == 3 << 20)
    #expect(lseek(descriptor, (3 << 20) + 4096, SEEK_DATA) == -1)
    #expect(try Descriptor.status(descriptor).st_size == 8 << 20)
  }

  @Test(arguments: [false, true]) func offsetsPastFourGibibytes(rolls: Bool) throws {
    let store = try store()
    let place = Int64(5 << 30) + 3
    var file = try SpooledTemporaryFile(threshold: rolls ? .bytes(100) : .unlimited, store: store)
    try file.put("begin")
    try file.seek(to: place)
    try file.put("over\nthere")
    #expect(file.isRolledOver == rolls)
    #expect(try file.size == place + 10 && file.position == place + 10)
    try file.rollOver()
    #expect(try file.seek(to: -10, from: .end) == place)
    #expect(try file.readLine().map(text) == "over\n")
    #expect(try text(file.readToEnd()) == "there")
    #expect(try file.seek(to: -place, from: .current) == 10)
    #expect(store.usage.diskBytes == 2 * 4096)
    try file.resize(to: place + 2)
    try file.seek(to: place)
    #expect(try text(file.readToEnd()) == "ov")
  }

  @Test func aReaderHasItsOwnPositionAndKeepsTheBytes() throws {
    var file = try SpooledTemporaryFile(threshold: .bytes(10))
    try file.put("abc\nd")
    var reader = try file.reader()
    #expect(try reader.position == 0 && reader.size == 5)
    #expect(try reader.readLine().map(text) == "abc\n")
    try file.put("ef\nand past the threshold")
    #expect(reader.mayBlock == true && file.isRolledOver == true)
    #expect(try reader.readLine().map(text) == "def\n" && reader.position == 8)
    #expect(try file.position == 30)
    _ = try file.fileDescriptor()
    #expect(try reader.seek(to: -9, from: .end) == 21 && reader.isReadable == true)
    try file.close()
    #expect(try text(reader.readToEnd()) == "threshold")
    failure(.invalidArgument) { () throws(TemporaryFileError) in try reader.seek(to: -1) }
    failure(.invalidArgument) { () throws(TemporaryFileError) in try reader.seek(to: .max, from: .current) }
    #expect(try reader.seek(to: 1) == 1)
    #expect(try text(reader.read(count: 2)) == "bc")
    try reader.close()
    try reader.close()
    #expect(reader.isClosed == true && reader.isReadable == false && reader.mayBlock == false)
    failure(.closed) { () throws(TemporaryFileError) in _ = try reader.read(count: 1) }
    failure(.closed) { () throws(TemporaryFileError) in _ = try reader.position }
    failure(.closed) { () throws(TemporaryFileError) in _ = try reader.size }
    failure(.closed) { () throws(TemporaryFileError) in try reader.seek(to: 0) }
  }

  @Test func aDroppedFileLeavesNothing() throws {
    let store = try store()
    for threshold in [SpoolConfiguration.Threshold.unlimited, .bytes(0)] {
      for exposed in [false, true] {
        var file = try SpooledTemporaryFile(threshold: threshold, store: store)
        try file.write([UInt8](repeating: 1, count: 100_000))
        if exposed { _ = try file.fileDescriptor() }
        let usage = store.usage
        #expect(usage.memoryBytes + usage.diskBytes >= 100_000)
      }
      #expect(store.usage.memoryBytes == 0 && store.usage.diskBytes == 0 && store.usage.spilledFiles == 0)
    }
  }

  @Test func aScopeEndsTheFileWhateverHappens() throws {
    struct Stop: Error {}
    let store = try store()
    let size = try withSpooledTemporaryFile(threshold: .bytes(1), store: store) { file in
      try file.put("abc")
      #expect(file.isRolledOver == true)
      return try file.size
    }
    #expect(size == 3 && store.usage.spilledFiles == 0)
    #expect(throws: Stop.self) {
      try withSpooledTemporaryFile(threshold: .bytes(1), store: store) { file in
        try file.put("abc")
        throw Stop()
      }
    }
    try withSpooledTemporaryFile(store: store) { try $0.close() }
    #expect(store.usage.spilledFiles == 0 && store.usage.dataBytes == 0)
  }

  /// That is no failure to move to disk.
  @Test func aStoreThatIsFullSaysSo() throws {
    let small = try store(sizeLimit: 8192)
    var file = try SpooledTemporaryFile(threshold: .bytes(1 << 20), store: small)
    try file.write([UInt8](repeating: 1, count: 8192))
    failure(.noSpace) { () throws(TemporaryFileError) in try file.write([1]) }
    let memoryOnly = try SpoolStore(SpoolConfiguration(memoryBudget: 1 << 16, spillCapacity: 0))
    var other = try SpooledTemporaryFile(store: memoryOnly)
    failure(.noSpace) { () throws(TemporaryFileError) in try other.write([UInt8](repeating: 1, count: 1 << 17)) }
    #expect(try other.size == 0 && other.position == 0)
    failure(.rolloverFailed) { () throws(TemporaryFileError) in try other.rollOver() }
  }
}
