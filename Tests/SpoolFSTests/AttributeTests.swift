import SpoolStorage
import SystemPackage
import Testing

@testable import SpoolFS

@Suite("Attributes")
struct AttributeTests {
  private let old = Timestamp(seconds: 1000)

  /// Sets all three times of an inode far back, so that any change shows.
  private func age(_ inodes: Inode...) {
    for inode in inodes {
      inode.lock.withLock {
        inode.accessed = old
        inode.modified = old
        inode.changed = old
      }
    }
  }

  /// Which of the times have moved: "a", "m", "c".
  private func moved(_ inode: Inode) -> String {
    inode.lock.withLock {
      (inode.accessed == old ? "" : "a") + (inode.modified == old ? "" : "m") + (inode.changed == old ? "" : "c")
    }
  }

  @Test("each operation moves the times that it moves on tmpfs")
  func times() throws {
    let tree = try makeTree()
    let root = tree.root
    let file = try tree.create("f", in: root)
    let directory = try tree.makeDirectory("d", in: root)

    age(file, directory, root)
    _ = try [UInt8]([1, 2, 3]).withUnsafeBytes { try tree.write(file, $0, at: 0, by: rootCaller) }
    #expect(moved(file) == "mc")
    age(file)
    _ = try tree.write(file, UnsafeRawBufferPointer(start: nil, count: 0), at: 0, by: rootCaller)
    #expect(moved(file) == "", "a write of nothing")
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1, alignment: 1)
    defer { buffer.deallocate() }
    _ = try tree.read(file, into: buffer, at: 0)
    #expect(moved(file) == "a")
    age(file)
    file.lock.withLock { file.accessed = .now }
    _ = try tree.read(file, into: buffer, at: 0)
    #expect(file.lock.withLock { file.accessed } <= .now)

    age(file, root, directory)
    try tree.createHardLink(at: "d/g", to: "f")
    #expect(moved(file) == "c" && moved(directory) == "mc" && moved(root) == "")
    age(file, root, directory)
    try tree.remove("d/g")
    #expect(moved(file) == "c" && moved(directory) == "mc")
    age(file, root, directory)
    try tree.rename("f", to: "d/f")
    #expect(moved(file) == "c" && moved(directory) == "mc" && moved(root) == "mc")
    age(file)
    try tree.setPermissions(.ownerRead, of: "d/f")
    #expect(moved(file) == "c")
    age(file)
    try tree.resize("d/f", to: 3)
    #expect(moved(file) == "mc", "the same size, with pages to look at")
    age(file)
    try tree.resize("d/f", to: 4)
    #expect(moved(file) == "mc")
    try tree.resize("d/f", to: 0)
    age(file)
    try tree.resize("d/f", to: 0)
    #expect(moved(file) == "")
    age(root)
    _ = try tree.entries()
    #expect(moved(root) == "a")
  }

  @Test("times are kept to the nanosecond, also before 1970")
  func nanoseconds() throws {
    let tree = try makeTree()
    try tree.write([], to: "f")
    let time = Timestamp(seconds: -7, nanoseconds: 123_456_789)
    try tree.setTimes(accessed: time, of: "f")
    let metadata = try tree.metadata(of: "f")
    #expect(metadata.accessed == time)
    #expect(metadata.modified > time)
    #expect(metadata.created > time && metadata.created <= metadata.modified)
  }

  @Test("sizes and blocks are tmpfs's")
  func sizes() throws {
    let tree = try makeTree()
    #expect(tree.attributes(of: tree.root).size == 40)
    try tree.createSymbolicLink(at: "short", to: FilePath(String(repeating: "x", count: 127)))
    try tree.createSymbolicLink(at: "long", to: FilePath(String(repeating: "x", count: 128)))
    #expect(try tree.metadata(of: "short", followingSymbolicLinks: false).allocatedSize == 0)
    #expect(try tree.metadata(of: "long", followingSymbolicLinks: false).allocatedSize == 4096)
    let file = try tree.open("f", .readWrite, options: .create)
    try file.write([1], at: 1_000_000)
    #expect(file.metadata.size == 1_000_001)
    #expect(file.metadata.allocatedSize == 4096)
  }

  @Test("set-user and set-group bits go with a write by somebody else, and with the owner")
  func privilegeBits() throws {
    let tree = try makeTree()
    try tree.setPermissions(FilePermissions(rawValue: 0o777), of: "/")
    let file = try tree.create("f", in: tree.root, mode: 0o6755, by: alice)
    _ = try [1].withUnsafeBytes { try tree.write(file, $0, at: 0, by: rootCaller) }
    #expect(tree.attributes(of: file).mode & 0o7777 == 0o6755, "root's writes leave them")
    _ = try [1].withUnsafeBytes { try tree.write(file, $0, at: 0, by: alice) }
    #expect(tree.attributes(of: file).mode & 0o7777 == 0o755)
    let other = try tree.create("g", in: tree.root, mode: 0o6745)
    _ = try tree.setAttributes(AttributeChanges(user: 1000), of: other, by: rootCaller)
    #expect(tree.attributes(of: other).mode & 0o7777 == 0o2745, "set-group without group execute means locking")
  }

  @Test("a setgid directory hands down its group, and itself to directories")
  func setgidDirectory() throws {
    let tree = try makeTree()
    let directory = try tree.makeDirectory("d", in: tree.root, mode: 0o777)
    _ = try tree.setAttributes(AttributeChanges(group: 4242), of: directory, by: rootCaller)
    _ = try tree.setAttributes(AttributeChanges(mode: 0o2777), of: directory, by: rootCaller)
    let inner = try tree.makeDirectory("inner", in: directory, by: alice)
    let file = try tree.create("f", in: inner, mode: 0o2755, by: Caller.local(user: 1000, group: 1000))
    #expect(tree.attributes(of: inner).group == 4242)
    #expect(tree.attributes(of: inner).mode & 0o7777 == 0o2755)
    #expect(tree.attributes(of: file).group == 4242)
    #expect(tree.attributes(of: file).mode & 0o7777 == 0o755, "alice is no member of that group")
  }

  @Test("permission bits bind other users")
  func permissions() throws {
    let tree = try makeTree()
    _ = try tree.setAttributes(AttributeChanges(mode: 0o1777), of: tree.root, by: rootCaller)
    let hers = try tree.makeDirectory("hers", in: tree.root, mode: 0o700, by: alice)
    try tree.create("f", in: hers, by: alice)
    #expect(errno { try tree.lookup("f", in: hers, by: bob) } == .permissionDenied)
    #expect(errno { try tree.create("g", in: hers, by: bob) } == .permissionDenied)
    #expect(errno { try tree.rename("hers", in: tree.root, to: "his", in: tree.root, by: bob) } == .notPermitted)
    #expect(errno { try tree.unlink("f", in: hers, by: bob) } == .permissionDenied)
    try tree.create("shared", in: tree.root, by: alice)
    #expect(errno { try tree.unlink("shared", in: tree.root, by: bob) } == .notPermitted, "sticky")
    #expect(
      errno { try tree.setAttributes(AttributeChanges(mode: 0o777), of: hers, by: bob) } == .notPermitted)
    #expect(errno { try tree.setAttributes(AttributeChanges(user: 1001), of: hers, by: alice) } == .notPermitted)
    try tree.unlink("shared", in: tree.root, by: alice)
  }

  @Test("extended attributes work where they were asked for")
  func extendedAttributes() throws {
    let plain = try makeTree()
    let none = try plain.create("f", in: plain.root)
    #expect(
      errno { try plain.setExtendedAttribute(Array("user.a".utf8), [1], of: none, flags: 0, by: alice) }
        == .notSupported)

    let tree = try makeTree(xattrs: true)
    try tree.setPermissions(FilePermissions(rawValue: 0o777), of: "/")
    let file = try tree.create("f", in: tree.root, mode: 0o666, by: alice)
    let name = Array("user.a".utf8)
    #expect(errno { try tree.extendedAttribute(name, of: file, by: alice) } == .noData)
    #expect(errno { try tree.setExtendedAttribute(name, [1], of: file, flags: 2, by: alice) } == .noData)
    try tree.setExtendedAttribute(name, [1], of: file, flags: 1, by: alice)
    #expect(errno { try tree.setExtendedAttribute(name, [2], of: file, flags: 1, by: alice) } == .fileExists)
    try tree.setExtendedAttribute(name, [], of: file, flags: 2, by: alice)
    #expect(try tree.extendedAttribute(name, of: file, by: alice) == [])
    #expect(try tree.extendedAttributeNames(of: file) == [name])
    #expect(
      errno { try tree.setExtendedAttribute(Array("trusted.a".utf8), [], of: file, flags: 0, by: alice) }
        == .notPermitted)
    #expect(
      errno { try tree.setExtendedAttribute(Array("odd".utf8), [], of: file, flags: 0, by: alice) }
        == .notSupported)
    let large = [UInt8](repeating: 0, count: ExtendedAttributes.maximumValue + 1)
    #expect(errno { try tree.setExtendedAttribute(name, large, of: file, flags: 0, by: alice) } == .argListTooLong)
    try tree.removeExtendedAttribute(name, of: file, by: alice)
    #expect(errno { try tree.removeExtendedAttribute(name, of: file, by: alice) } == .noData)
  }
}
