import Foundation
import Testing

/// Programs that use only TemporaryFiles start where libfuse3 is not installed.
@Suite struct LinkingTests {
  private func program(_ name: String) throws -> Data {
    // Beside the test bundle.
    let products = URL(filePath: CommandLine.arguments[0]).deletingLastPathComponent()
    return try Data(contentsOf: products.appending(path: name), options: .mappedIfSafe)
  }

  @Test func theModuleNeedsNoLibfuse() throws {
    let library = Data("libfuse3.so".utf8)
    #expect(try program("TemporaryFilesTestProgram").range(of: library) == nil)
    // One that serves mounts does need it.
    #expect(try program("MountTestServer").range(of: library) != nil)
  }
}
