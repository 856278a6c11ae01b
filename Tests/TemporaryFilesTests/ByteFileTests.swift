import Glibc
import SystemPackage
import Testing

@testable import TemporaryFiles

@Suite struct ByteFileTests {
  @Test func aSpooledFileRollsBeforeTheWriteThatExceeds() throws {
    var file = try SpooledTemporaryFile(threshold: .bytes(10))
    try file.write([UInt8](repeating: 1, count: 10))
    #expect(file.isRolledOver == false)
    try file.write([2])
    #expect(file.isRolledOver == true)
    #expect(try file.position == 11)
    try file.seek(to: -2, from: .end)
    #expect(try file.readToEnd() == [1, 2])
    try file.close()
    try file.close()
    let error = #expect(throws: TemporaryFileError.self) { try file.write([1]) }
    #expect(error?.code == .closed)
  }

  @Test(arguments: [Buffering.standard, .none, .line, .bytes(7)])
  func bufferedAndNot(buffering: Buffering) throws {
    var file = try TemporaryFile(buffering: buffering)
    try file.write(contentsOf: "one\ntwo\nthree".utf8)
    #expect(try file.size == 13)
    try file.seek(to: 4)
    #expect(try file.readLine() == Array("two\n".utf8))
    #expect(try file.position == 8)
    try file.write(contentsOf: "THREE!".utf8)
    try file.seek(to: 0)
    #expect(try file.readLines().map { String(decoding: $0, as: UTF8.self) } == ["one\n", "two\n", "THREE!"])
    let descriptor = try file.fileDescriptor()
    #expect(try descriptor.seek(offset: 0, from: .current) == 14)
    try descriptor.seek(offset: 3, from: .start)
    #expect(try file.position == 3)
    try file.close()
  }

  @Test func aNamedFileIsThereUntilItIsClosed() throws {
    var file = try NamedTemporaryFile(prefix: "spool", suffix: ".txt")
    let path = file.path
    #expect(access(path.string, F_OK) == 0)
    try file.close()
    #expect(access(path.string, F_OK) != 0)
    let kept = try withNamedTemporaryFile { try $0.keep() }
    #expect(unlink(kept.string) == 0)
  }
}
