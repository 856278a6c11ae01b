import Foundation
import SystemPackage
import TemporaryFiles
import Testing

@Suite struct DocumentationTests {
  private static let tests = URL(filePath: #filePath).deletingLastPathComponent()

  private static func lines(of text: some StringProtocol) -> [String] {
    text.split(separator: "\n").map { line in
      // In the tests the examples are members of a type.
      let line = line.trimmingCharacters(in: .whitespaces)
      return line.hasPrefix("static func") ? String(line.dropFirst("static ".count)) : line
    }.filter { !$0.isEmpty && !$0.hasPrefix("import ") }
  }

  @Test(arguments: ["TemporaryFiles", "ChoosingAPrimitive", "ComingFromPython"])
  func everyExampleIsCompiled(page: String) throws {
    let catalogue = Self.tests.appending(path: "../../Sources/TemporaryFiles/TemporaryFiles.docc")
    let text = try String(contentsOf: catalogue.appending(path: page + ".md"), encoding: .utf8)
    let compiled = Self.lines(
      of: try String(contentsOf: Self.tests.appending(path: "DocumentationExamples.swift"), encoding: .utf8))
    let examples = text.components(separatedBy: "```swift\n").dropFirst().map { $0.components(separatedBy: "```")[0] }
    #expect(!examples.isEmpty)
    for example in examples {
      let wanted = Self.lines(of: example)
      let isThere = compiled.indices.contains { compiled[$0...].starts(with: wanted) }
      #expect(isThere, "not in DocumentationExamples.swift:\n\(example)")
    }
  }

  @Test func theExamplesDoWhatTheySay() async throws {
    #expect(try Overview.sum(of: Array("a\nbc\n".utf8)) == 5)
    #expect(try Choosing.countLines("a\nb\nc") == 3)
    #expect(try FromPython.temporaryFile() == Array("Hello world!".utf8))
    #expect(try FromPython.scope() == Array("Hello world!".utf8))
    try FromPython.closedAndOpenedAgain()
    #expect(try FromPython.text() == "grün\r\n")
    try FromPython.directory { #expect(FileManager.default.fileExists(atPath: $1.string)) }
    try FromPython.kept { #expect(FileManager.default.fileExists(atPath: $0.string)) }
    try await withTemporaryDirectory { directory in
      let target = directory.path.appending("target")
      var upload = try Choosing.Upload(store: Choosing.makeUploadStore())
      try upload.append([1, 2, 3])
      try upload.finish(at: target)
      #expect(FileManager.default.contents(atPath: target.string) == Data([1, 2, 3]))
      try Choosing.replace(target, with: "new")
      #expect(FileManager.default.contents(atPath: target.string) == Data("new".utf8))
      try await Choosing.archive([[1], [2]], to: target)
      #expect(FileManager.default.contents(atPath: target.string) == Data([1, 2]))
    }
  }
}
