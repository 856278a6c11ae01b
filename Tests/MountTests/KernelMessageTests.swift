import CSpoolSystem
import SystemPackage
import Testing

@testable import SpoolFS

/// The kernel's messages are as long as they should be; another that is not is refused and not read past its end.
@Suite struct KernelMessageTests {
  private static let headerSize = MemoryLayout<fuse_in_header>.size

  private func withMessage(_ content: [UInt8], _ body: (Message) throws -> Void) throws {
    let bytes = [UInt8](repeating: 0, count: Self.headerSize) + content
    try bytes.withUnsafeBytes { try body(Message(fuse_in_header(), $0)) }
  }

  @Test func argumentsAndNamesAreFoundOneAfterTheOther() throws {
    let content = withUnsafeBytes(of: fuse_rename_in(newdir: 7)) { Array($0) } + Array("old\0new\0".utf8)
    try withMessage(content) { message in
      let parent = try message.argument(fuse_rename_in.self).newdir
      let names = [try message.name(after: 8), try message.name(after: 12)].map { Array($0) }
      let rest = try message.data(after: 16)
      #expect(parent == 7 && names == [Array("old".utf8), Array("new".utf8)] && rest.isEmpty)
    }
  }

  @Test func aMessageThatIsTooShortIsRefused() throws {
    try withMessage(Array("name".utf8)) { message in
      #expect(throws: Errno.invalidArgument) { _ = try message.name() }
      #expect(throws: Errno.invalidArgument) { _ = try message.name(after: 4) }
      #expect(throws: Errno.invalidArgument) { _ = try message.name(after: 5) }
      #expect(throws: Errno.invalidArgument) { _ = try message.data(after: 5) }
      #expect(throws: Errno.invalidArgument) { _ = try message.argument(fuse_write_in.self) }
    }
  }
}
