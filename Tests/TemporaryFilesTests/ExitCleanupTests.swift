import Glibc
import SystemPackage
import Testing

@testable import TemporaryFiles

@Suite struct ExitCleanupTests {
  /// What is left in a directory, without the random parts of the names, after the program has run there.
  private func leftovers(_ what: String, status: Int32, output: String = "") throws -> [String] {
    try withEmptyDirectory { place in
      let result = try TestProgram.run(what, in: place)
      #expect(result.status == status && result.output == output)
      let left = try #require(entries(of: place))
      try left.forEach { try TreeRemoval.remove(place.appending($0), FileIdentity(at: place.appending($0))) }
      return left.map { name in name.firstIndex(of: "-").map { String(name[..<$0]) } ?? name }
    }
  }

  @Test func exitInTheMiddleLeavesOnlyWhatIsToStay() throws {
    // "gone" has been replaced by another directory.
    #expect(try leftovers("exit", status: 3 << 8) == ["gone", "kept", "never", "placeholder"])
  }

  @Test func exitInATaskLeavesNothing() throws {
    #expect(try leftovers("exit-in-task", status: 3 << 8) == [])
  }

  @Test func aForkedProcessRemovesWhatIsItsOwn() throws {
    #expect(try leftovers("fork", status: 0, output: "kept\n") == [])
  }

  @Test func aForkedProcessHasNamesOfItsOwn() throws {
    try withEmptyDirectory { place in
      #expect(try TestProgram.run("fork-names", in: place).status == 0)
      var names: [String] = []
      for directory in ["before", "parent", "child"].map(place.appending) {
        names += try #require(entries(of: directory))
        try TreeRemoval.remove(directory, FileIdentity(at: directory))
      }
      #expect(names.count == 24 && Set(names).count == 24)
    }
  }

  @Test func aKilledProcessLeavesIt() throws {
    #expect(try leftovers("kill", status: SIGKILL) == ["killed"])
  }

  @Test func whatIsUnregisteredStaysAndFilesGo() throws {
    try withEmptyDirectory { place in
      let path = place.appending("file")
      makeFile(path)
      let first = ExitCleanup.register(.file(path))
      ExitCleanup.unregister(first)
      let second = ExitCleanup.register(.file(path))
      #expect(ExitCleanup.isOwn(second))
      ExitCleanup.Entry.file(place.appending("nothing")).remove()
      #expect(entries(of: place) == ["file"])
      ExitCleanup.Entry.file(path).remove()
      #expect(entries(of: place) == [])
      ExitCleanup.unregister(second)
    }
  }
}

@Suite struct OtherUserTests {
  @Test func allModesAreRemovedAndNotThroughLinks() throws {
    try withEmptyDirectory { place in
      let (output, status) = try TestProgram.run("modes", in: place)
      #expect(output == "done\n" && status == 0)
      system("chmod -R u+rwX '\(place)'; rm -r '\(place)/target'")
    }
  }

  @Test(.enabled(if: TestProgram.canRunAsNobody)) func aUserWithoutPrivilegesRemovesAllModes() throws {
    try withEmptyDirectory { place in
      chown(place.string, 65534, 65534)
      let (output, status) = try TestProgram.run("modes", in: place, wrapper: TestProgram.nobody)
      #expect(output == "done\n" && status == 0)
      system("chmod -R u+rwX '\(place)'; rm -r '\(place)/target'")
    }
  }

  @Test(.enabled(if: TestProgram.canRunAsNobody)) func theEnvironmentIsNotForThePrivileged() throws {
    try withEmptyDirectory { place in
      chmod(place.string, 0o777)
      let variable = "env TMPDIR='\(place)'"
      #expect(try TestProgram.run("location", in: place, wrapper: variable).output == "\(place)\n")
      let (output, status) = try TestProgram.run("location", in: place, wrapper: "\(variable) setpriv --ruid=65534")
      #expect(status == 0 && output.hasPrefix("/") && output != "\(place)\n", "\(output)")
      let spill = "env -u TMPDIR -u TEMP -u TMP SPOOLFS_SPILL_DIR='\(place)'"
      #expect(try TestProgram.run("spill", in: place, wrapper: spill).output.hasPrefix("\(place)/"))
      let (spilled, end) = try TestProgram.run("spill", in: place, wrapper: "\(spill) setpriv --ruid=65534")
      #expect(end == 0 && spilled.hasPrefix("/") && !spilled.hasPrefix("\(place)"), "\(spilled)")
    }
  }
}
