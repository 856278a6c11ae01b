import Glibc
import SystemPackage
import Testing

extension CommandTests {
  /// Python's own tests of its file functions. What fails on tmpfs too is not ours.
  @Suite(.serialized, .timeLimit(.minutes(10))) struct ProgramsPythonTests {
    private static let modules = ["test_tempfile", "test_shutil", "test_os"]

    private static let places: [Place] = [
      .run(["--cache=writeback"]), .mount(["--cache=writethrough"]), .mount(["--threshold=0"]),
    ]

    /// An interpreter that comes with its tests: Debian has them in a package of their own.
    private static let interpreter = ["python3", "/usr/bin/python3"].first { python in
      system("\(python) -c 'import \(modules.map { "test." + $0 }.joined(separator: ", "))' 2>/dev/null") == 0
    }

    @Test(.enabled(if: interpreter != nil, "no Python with its tests"), arguments: places)
    func pythonsOwnTestsPass(in place: Place) async throws {
      let python = try #require(Self.interpreter)
      try await Sandbox.with { sandbox in
        let script = """
          python=$1 report=$2
          shift 2
          PYTHONDONTWRITEBYTECODE=1 "$python" -m test --tempdir "$TMPDIR" --junit-xml "$report" "$@" >"$report.log" 2>&1 ||
            true
          "$python" -c "$REPORT" "$report"
          """
        func failures(in place: Place) async throws -> (count: Int, names: Set<Substring>) {
          let report = sandbox.work.appending("report.xml")
          let outcome = try await sandbox.perform(
            "REPORT='\(Self.listFailures)'\n" + script, [python, report.string] + Self.modules, in: place)
          try #require(outcome.succeeded, "\(outcome.testDescription)")
          let lines = outcome.text.split(separator: "\n")
          return (Int(lines.first ?? "") ?? 0, Set(lines.dropFirst()))
        }
        let here = try await failures(in: place)
        let log = String(decoding: sandbox.work.appending("report.xml.log").bytes, as: UTF8.self)
        let expected = try await failures(in: .directory("/dev/shm"))
        #expect(here.count == expected.count && here.count > 0, "\(log.suffix(4000))")
        #expect(here.names.subtracting(expected.names).isEmpty, "\(log.suffix(8000))")
      }
    }

    /// Prints how many tests there were, and the names of those that failed.
    private static let listFailures = """
      import sys, xml.etree.ElementTree
      cases = list(xml.etree.ElementTree.parse(sys.argv[1]).iter("testcase"))
      print(len(cases))
      for case in cases:
          if case.find("failure") is not None or case.find("error") is not None:
              print(case.get("name"))
      """
  }
}
