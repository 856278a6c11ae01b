import SystemPackage
import Testing

@testable import TemporaryFiles

@Suite struct ByteFileTests {
  @Test(arguments: FileCase.allCases, FileKind.allCases)
  func everyKindOfFileKeepsIt(_ fileCase: FileCase, with kind: FileKind) throws {
    try kind.run(fileCase)
  }

  @Test(arguments: [Int64(0), 5, 100], FileKind.allCases)
  func aFileWithAMaximumSizeDoesNotOutgrowIt(size: Int64, kind: FileKind) throws {
    try kind.run(MaximumSizeCheck(size: size), maximumSize: size)
  }
}
