import Glibc
import SystemPackage
import Testing

@testable import TemporaryFiles

@Suite struct TemporaryLocationTests {
  @Test func candidatesComeInPythonsOrder() {
    let all: [FilePath] = ["/TMPDIR", "/TEMP", "/TMP", "/tmp", "/var/tmp", "/usr/tmp", "."]
    #expect(TemporaryLocation.candidates { FilePath("/\($0)") } == all)
    #expect(TemporaryLocation.candidates { _ in nil } == Array(all[3...]))
  }

  @Test func theFirstUsableDirectoryIsTakenAndLeftAsItWas() throws {
    var template = Array("/tmp/location-XXXXXX".utf8CString)
    try #require(mkdtemp(&template) != nil)
    let directory = FilePath(platformString: template)
    // It can only be removed if the probe left nothing.
    defer { #expect(rmdir(directory.string) == 0) }
    #expect(
      try TemporaryLocation.usableDirectory(of: ["/nonexistent", "/proc", "/etc/passwd", directory]) == directory)
    #expect(
      try TemporaryLocation.usableDirectory(of: [directory.appending("../x/..").appending(directory.lastComponent!)])
        == directory)
  }

  @Test func aRelativePathBecomesAbsolute() throws {
    let directory = try TemporaryLocation.usableDirectory(of: [".", "/tmp"])
    #expect(directory.isAbsolute && directory.lastComponent != ".")
  }

  @Test func withoutAnyItIsAnError() {
    let error = #expect(throws: TemporaryFileError.self) {
      try TemporaryLocation.usableDirectory(of: ["/nonexistent", "/proc"])
    }
    #expect(error?.code == .noUsableTemporaryDirectory)
    #expect(error?.description.contains("/nonexistent, /proc") == true)
  }

  @Test func theDefaultIsFoundOnce() throws {
    let directory = try TemporaryLocation.directory
    #expect(directory.isAbsolute)
    #expect(try TemporaryLocation.directory == directory)
  }

  @Test func namesAreRandomLowerCaseAndDigits() {
    let names = (0..<1000).map { _ in TemporaryName.random() }
    #expect(Set(names).count == names.count)
    #expect(names.allSatisfy { $0.utf8.count == 12 && $0.utf8.allSatisfy(TemporaryName.alphabet.contains) })
    #expect(TemporaryName.random(length: 30).utf8.count == 30)
  }
}
