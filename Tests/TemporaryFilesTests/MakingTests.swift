import Glibc
import SystemPackage
import Testing

@testable import TemporaryFiles

/// The two functions that make something, seen as one: path in, path out.
private enum Maker: CaseIterable, CustomTestStringConvertible {
  case file, directory

  var testDescription: String { self == .file ? "makeTemporaryFile" : "makeTemporaryDirectory" }

  func make(
    in directory: FilePath?, prefix: NameAffix = TemporaryLocation.prefix, suffix: NameAffix = ""
  ) throws(TemporaryFileError) -> FilePath {
    switch self {
    case .file:
      let (descriptor, path) = try makeTemporaryFile(in: directory, prefix: prefix, suffix: suffix)
      do { try descriptor.close() } catch { Issue.record(error) }
      return path
    case .directory:
      return try makeTemporaryDirectory(in: directory, prefix: prefix, suffix: suffix)
    }
  }

  func remove(_ path: FilePath) {
    #expect(path.withPlatformString { self == .file ? unlink($0) : rmdir($0) } == 0)
  }
}

@Suite struct MakingTests {
  @Test(arguments: Maker.allCases)
  private func namesHavePrefixRandomPartAndSuffix(maker: Maker) throws {
    try withEmptyDirectory { place in
      for (prefix, suffix) in [("", ""), ("a", ""), ("", "b"), ("a", "b"), ("a_", ".txt"), ("..", "."), ("é", "ü")] {
        let path = try maker.make(in: place, prefix: NameAffix(prefix), suffix: NameAffix(suffix))
        defer { maker.remove(path) }
        #expect(path.removingLastComponent() == place)
        let name = try #require(path.lastComponent?.string)
        #expect(name.hasPrefix(prefix) && name.hasSuffix(suffix))
        let random = name.dropFirst(prefix.count).dropLast(suffix.count)
        #expect(random.utf8.count == 12 && random.utf8.allSatisfy(TemporaryName.alphabet.contains))
      }
    }
  }

  @Test(arguments: Maker.allCases)
  private func namesNeedNotBeText(maker: Maker) throws {
    try withEmptyDirectory { place in
      let bytes: [UInt8] = [0xff, 0xfe]
      let path = try maker.make(in: place, prefix: NameAffix(bytes: bytes), suffix: NameAffix(bytes: [0x80]))
      defer { maker.remove(path) }
      let name = try #require(path.lastComponent).bytes
      #expect(name.starts(with: bytes) && name.last == 0x80 && name.count == 15)
      #expect(exists(path))
    }
  }

  @Test(arguments: Maker.allCases)
  private func aDirectoryWhoseNameIsNoTextWorks(maker: Maker) throws {
    try withEmptyDirectory { place in
      let odd = place.appending(FilePath.Component(platformString: [CChar(bitPattern: 0xff), 0])!)
      makeDirectory(odd)
      defer { odd.withPlatformString { _ = rmdir($0) } }
      let path = try maker.make(in: odd)
      #expect(path.removingLastComponent() == odd && exists(path))
      maker.remove(path)
    }
  }

  @Test(arguments: Maker.allCases)
  private func manyNamesAreDifferent(maker: Maker) throws {
    try withEmptyDirectory { place in
      let paths = try (0..<100).map { _ in try maker.make(in: place) }
      #expect(Set(paths).count == 100)
      paths.forEach(maker.remove)
    }
  }

  @Test(arguments: Maker.allCases)
  private func theDefaultDirectoryIsUsed(maker: Maker) throws {
    let path = try maker.make(in: nil)
    defer { maker.remove(path) }
    #expect(try path.removingLastComponent() == TemporaryLocation.directory)
    #expect(path.lastComponent?.string.hasPrefix("tmp") == true)
  }

  @Test(arguments: Maker.allCases)
  private func aRelativeDirectoryGivesAnAbsolutePath(maker: Maker) throws {
    let path = try maker.make(in: ".")
    defer { maker.remove(path) }
    #expect(path.isAbsolute && exists(path))
    #expect(try path == #require(TemporaryLocation.absolute(".")).appending(#require(path.lastComponent)))
  }

  @Test(arguments: Maker.allCases)
  private func prefixAndSuffixCannotLeadElsewhere(maker: Maker) throws {
    try withEmptyDirectory { place in
      let affixes: [NameAffix] = ["/", "a/b", "../", "a\0b", "\0"]
      for affix in affixes {
        for (prefix, suffix) in [(affix, ""), ("", affix)] {
          let error = #expect(throws: TemporaryFileError.self) {
            try maker.make(in: place, prefix: prefix, suffix: suffix)
          }
          #expect(error?.code == .invalidName)
        }
      }
      let error = #expect(throws: TemporaryFileError.self) {
        try maker.make(in: place, prefix: NameAffix(String(repeating: "x", count: 244)))
      }
      #expect(error?.code == .invalidName && error?.errno == .fileNameTooLong)
      maker.remove(try maker.make(in: place, prefix: NameAffix(String(repeating: "x", count: 243))))
    }
  }

  @Test(arguments: Maker.allCases)
  private func aBadDirectoryIsTold(maker: Maker) throws {
    try withEmptyDirectory { place in
      makeFile(place.appending("file"))
      defer { unlink(place.appending("file").string) }
      let cases: [(FilePath, TemporaryFileError.Code, Errno)] = [
        (place.appending("nonexistent"), .notFound, .noSuchFileOrDirectory),
        (place.appending("file"), .notADirectory, .notDirectory),
        ("/proc", .notFound, .noSuchFileOrDirectory),
      ]
      for (directory, code, errno) in cases {
        let error = #expect(throws: TemporaryFileError.self) { try maker.make(in: directory) }
        #expect(error?.code == code && error?.errno == errno && error?.path == directory)
      }
    }
  }

  @Test func aFileIsItsOwnersAndEmptyAndOpenForBoth() throws {
    try withEmptyDirectory { place in
      let (file, path) = try makeTemporaryFile(in: place)
      defer { unlink(path.string) }
      #expect(mode(of: path) == 0o600)
      let descriptorFlags = try Stat(file)
      #expect(descriptorFlags.size == 0 && descriptorFlags.type == .regular)
      #expect(try file.writeAll("text".utf8) == 4)
      #expect(try file.seek(offset: 0, from: .start) == 0)
      var bytes = [UInt8](repeating: 0, count: 5)
      #expect(try bytes.withUnsafeMutableBytes { try file.read(into: $0) } == 4)
      #expect(try FileIdentity(of: file.rawValue) == FileIdentity(at: path))
      try file.close()
    }
  }

  @Test func aDescriptorIsNotInherited() throws {
    try withEmptyDirectory { place in
      let (file, path) = try makeTemporaryFile(in: place)
      defer { unlink(path.string) }
      #expect(
        system("test -e /proc/self/fd/\(file.rawValue) && test /proc/self/fd/\(file.rawValue) -ef '\(path)'") != 0)
      try file.close()
    }
  }

  @Test func aDirectoryIsItsOwnersAlone() throws {
    try withEmptyDirectory { place in
      let path = try makeTemporaryDirectory(in: place)
      #expect(mode(of: path) == 0o700)
      rmdir(path.string)
    }
  }

  @Test func permissionsCanBeChosen() throws {
    try withEmptyDirectory { place in
      let (file, path) = try makeTemporaryFile(in: place, permissions: [.ownerRead])
      #expect(mode(of: path) == 0o400)
      #expect(try file.writeAll("x".utf8) == 1)
      try file.close()
      unlink(path.string)
      let directory = try makeTemporaryDirectory(in: place, permissions: [.ownerReadExecute])
      #expect(mode(of: directory) == 0o500)
      rmdir(directory.string)
    }
  }

  @Test func aNameThatIsTakenIsPassedOver() throws {
    try withEmptyDirectory { place in
      makeFile(place.appending("file"))
      makeDirectory(place.appending("directory"))
      symlink("nowhere", place.appending("link").string)
      defer { for name in ["file", "link"] { unlink(place.appending(name).string) } }
      defer { rmdir(place.appending("directory").string) }
      var taken = ["file", "directory", "link"].map { place.appending($0) }
      let made = try TemporaryEntry.withUnusedPath(in: place, prefix: "", suffix: "", for: "") { path throws(Errno) in
        let path = taken.popLast() ?? path
        try TemporaryEntry.makeDirectory(path, permissions: .ownerReadWriteExecute)
        return path
      }
      #expect(taken.isEmpty && mode(of: made) == 0o700)
      rmdir(made.string)
      #expect(entries(of: place) == ["directory", "file", "link"])
      #expect(throws: Errno.fileExists) { try TemporaryEntry.checkIsUnused(place.appending("link")) }
    }
  }

  @Test func onlyTakenNamesAreTriedAgainAndNotForEver() throws {
    var attempts = 0
    let exhausted = #expect(throws: TemporaryFileError.self) {
      try TemporaryEntry.withUnusedPath(in: "/tmp", prefix: "", suffix: "", for: "test") { _ throws(Errno) in
        attempts += 1
        throw .fileExists
      }
    }
    #expect(exhausted?.code == .namesExhausted && attempts == TemporaryName.maximumAttempts)
    attempts = 0
    let refused = #expect(throws: TemporaryFileError.self) {
      try TemporaryEntry.withUnusedPath(in: "/tmp", prefix: "", suffix: "", for: "test") { _ throws(Errno) in
        attempts += 1
        throw .permissionDenied
      }
    }
    #expect(refused?.code == .permissionDenied && attempts == 1)
  }
}

/// The test of what is deprecated is deprecated, so that it may use it.
private protocol NameMaking { static func name(in place: FilePath, _ prefix: NameAffix) throws -> FilePath }
private enum DeprecatedNames: NameMaking {
  @available(*, deprecated) static func name(in place: FilePath, _ prefix: NameAffix) throws -> FilePath {
    try makeTemporaryName(in: place, prefix: prefix, suffix: ".s")
  }
}

@Suite struct TemporaryNameTests {
  private let names: any NameMaking.Type = DeprecatedNames.self

  @Test func aNameIsFreeAndNothingIsMade() throws {
    try withEmptyDirectory { place in
      let path = try names.name(in: place, "p-")
      #expect(path.removingLastComponent() == place && !exists(path))
      #expect(path.lastComponent?.string.hasPrefix("p-") == true && path.extension == "s")
    }
  }

  @Test func namesAreDifferentAndChecked() throws {
    try withEmptyDirectory { place in
      let paths = try (0..<100).map { _ in try names.name(in: place, "") }
      #expect(Set(paths).count == 100)
      #expect(throws: TemporaryFileError.self) { try names.name(in: place, "../") }
    }
  }
}
