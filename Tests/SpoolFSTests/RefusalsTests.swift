import SpoolStorage
import SystemPackage
import Testing

@testable import SpoolFS

/// Bytes that are lost because the tree could not take them from the kernel's cache.
@Suite struct RefusalsTests {
  // MARK: The set

  @Test func whatIsWrittenOrCutIsNotLostAnyLonger() {
    let refusals = Refusals()
    refusals.refuse(100..<200, because: .noSpace)
    refusals.refuse(300..<400, because: .noSpace)
    #expect(refusals.overlaps(0..<101) && refusals.overlaps(199..<300) && refusals.overlaps(350..<351))
    #expect(!refusals.overlaps(0..<100) && !refusals.overlaps(200..<300) && !refusals.overlaps(150..<150))
    refusals.replaced(120..<350)
    #expect(refusals.ranges == RangeSet([100..<120, 350..<400]))
    refusals.cut(to: 110)
    #expect(refusals.ranges == RangeSet([100..<110]) && !refusals.isEmpty)
    refusals.replaced(0..<1000)
    #expect(refusals.isEmpty)
  }

  @Test func theErrorIsToldOnce() {
    let refusals = Refusals()
    refusals.refuse(0..<10, because: .fileTooLarge)
    #expect(refusals.takeUntold() == .fileTooLarge)
    #expect(refusals.takeUntold() == nil)
    refusals.refuse(0..<10, because: .noSpace)
    refusals.cut(to: 0)
    #expect(refusals.takeUntold() == nil, "nothing is lost any longer")
  }

  // MARK: In a tree

  private func read(_ tree: FileSystem, _ inode: Inode, _ count: Int, at offset: Int64) throws(Errno) -> Int {
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: count, alignment: 16)
    defer { buffer.deallocate() }
    return try tree.read(inode, into: buffer, at: offset)
  }

  private func write(_ tree: FileSystem, _ inode: Inode, _ count: Int, at offset: Int64) throws {
    _ = try [UInt8](repeating: 7, count: count).withUnsafeBytes {
      try tree.write(inode, $0, at: offset, by: rootCaller)
    }
  }

  @Test func lostBytesReadAsAnErrorAndOthersAsTheyAre() throws {
    let tree = try makeTree()
    let inode = try tree.create("f", in: tree.root)
    tree.refused(4096..<8192, of: inode, because: .noSpace)
    #expect(errno { try read(tree, inode, 1, at: 4096) } == .ioError, "also where the file never had a byte")
    try write(tree, inode, 4096, at: 0)
    try write(tree, inode, 4096, at: 8192)
    #expect(try read(tree, inode, 4096, at: 0) == 4096)
    #expect(try read(tree, inode, 4096, at: 8192) == 4096)
    #expect(errno { try read(tree, inode, 12_288, at: 0) } == .ioError)
    #expect(
      errno { try tree.copyRange(from: inode, at: 0, to: inode, at: 1 << 20, count: 9000, by: rootCaller) } == .ioError)
    try write(tree, inode, 4096, at: 4096)
    #expect(try read(tree, inode, 12_288, at: 0) == 12_288)
  }

  @Test func cuttingAndPunchingEndIt() throws {
    let tree = try makeTree()
    let inode = try tree.create("f", in: tree.root)
    try write(tree, inode, 4096, at: 0)
    tree.refused(4096..<12_288, of: inode, because: .noSpace)
    try tree.allocate(inode, mode: 1, at: 4096, count: 4096, by: rootCaller)
    #expect(errno { try read(tree, inode, 1, at: 4096) } == .ioError, "space alone brings nothing back")
    try tree.allocate(inode, mode: 1 | 2, at: 4096, count: 4096, by: rootCaller)
    #expect(errno { try read(tree, inode, 1, at: 4096) } == nil)
    #expect(errno { try read(tree, inode, 1, at: 8192) } == .ioError)
    _ = try tree.setAttributes(AttributeChanges(size: 4096), of: inode, by: rootCaller)
    _ = try tree.setAttributes(AttributeChanges(size: 12_288), of: inode, by: rootCaller)
    #expect(try read(tree, inode, 12_288, at: 0) == 12_288)
    #expect(tree.takeUntoldRefusal(of: inode) == nil)
  }

  /// A copy that looks for data must meet the error: it would make a hole of what it skips.
  @Test func lostBytesCountAsData() throws {
    let tree = try makeTree()
    let inode = try tree.create("f", in: tree.root)
    tree.refused(8192..<16_384, of: inode, because: .noSpace)
    #expect(try tree.seek(inode, from: 0, whence: 3) == 8192)
    #expect(try tree.seek(inode, from: 9000, whence: 3) == 9000)
    #expect(try tree.seek(inode, from: 8192, whence: 4) == 16_384)
    #expect(errno { try tree.seek(inode, from: 16_384, whence: 3) } == .noSuchAddressOrDevice)
    try write(tree, inode, 4096, at: 16_384)
    try write(tree, inode, 4096, at: 0)
    #expect(try tree.seek(inode, from: 0, whence: 4) == 4096)
    #expect(try tree.seek(inode, from: 4096, whence: 3) == 8192)
    #expect(try tree.seek(inode, from: 8192, whence: 4) == 20_480)
  }
}
