import SystemPackage
import Testing

/// Where a program finds its temporary directory.
enum Place: Sendable, CustomTestStringConvertible {
  /// A fresh directory in this one, to compare with.
  case directory(FilePath)
  /// `spoolfs run` with these options.
  case run([String])
  /// A background mount with these options.
  case mount([String])

  var testDescription: String {
    switch self {
    case .directory(let parent): "\(parent)"
    case .run(let options): "run \(options.joined(separator: " "))"
    case .mount(let options): "mount \(options.joined(separator: " "))"
    }
  }
}

extension Sandbox {
  /// Small enough that real programs take files through every state.
  static let tight = ["--threshold=4m", "--memory=32m"]

  static let places: [Place] = [
    .run(tight + ["--cache=writeback"]), .mount(tight + ["--cache=writethrough"]),
  ]

  /// Runs `script` with `sh`, in the temporary directory of `place`, which `TMPDIR` names; arguments are its `$1` and on.
  func perform(_ script: String, _ arguments: [String] = [], in place: Place) async throws -> Outcome {
    let words = ["-c", "set -eu\ncd \"$TMPDIR\"\n" + script, "sh"] + arguments
    switch place {
    case .directory(let parent):
      let directory = parent.appending("beside-\(self.directory.lastComponent!)").string
      try await run("mkdir", [directory])
      let outcome = try await run("sh", words, environment: ["TMPDIR": directory])
      try await run("rm", ["-rf", directory])
      return outcome
    case .run(let options):
      return try await spoolfs(["run"] + options + ["--", "sh"] + words)
    case .mount(let options):
      let mounting = try await spoolfs(["mount"] + options + [mountPoint.string])
      try #require(mounting.succeeded, "\(mounting.testDescription)")
      let outcome = try await run("sh", words, environment: ["TMPDIR": mountPoint.string])
      let unmounting = try await spoolfs(["unmount", mountPoint.string])
      #expect(unmounting.succeeded, "\(unmounting.testDescription)")
      return outcome
    }
  }

  /// Expects that `script` succeeds in `place` and says there, byte for byte, what it says on disk.
  func expectSameAsOnDisk(_ script: String, _ arguments: [String] = [], in place: Place) async throws {
    let expected = try await perform(script, arguments, in: .directory(work))
    try #require(expected.succeeded, "on disk: \(expected.testDescription)")
    let actual = try await perform(script, arguments, in: place)
    #expect(actual.succeeded, "\(actual.testDescription)")
    let isSame = actual.output == expected.output
    let differences = actual.text.split(separator: "\n").difference(from: expected.text.split(separator: "\n"))
    #expect(isSame, "other than on disk: \(Array(differences.prefix(20)))")
  }
}

extension CommandTests {
  /// Programs that people run get the same results as on disk.
  @Suite(.serialized, .timeLimit(.minutes(10))) struct ProgramsTests {
    @Test(arguments: Sandbox.places)
    func sortSpills(in place: Place) async throws {
      try await Sandbox.with { sandbox in
        let input = sandbox.work.appending("input").string
        try await #require(sandbox.run("python3", ["-c", Self.makeLines, input]).succeeded)
        let outcome = try await sandbox.perform(
          """
          sort -S 1M "$1" | sha256sum
          cp "$1" unsorted
          sort -S 1M -o sorted unsorted
          sha256sum < sorted
          rm sorted unsorted
          ls -A
          cat .spoolfs/stats
          """, [input], in: place)
        #expect(outcome.succeeded, "\(outcome.testDescription)")
        let expected = try await sandbox.shell("sort \"$1\" | sha256sum", [input])
        #expect(outcome.text.hasPrefix(expected.text + expected.text + "{"), "\(outcome.testDescription)")
        let rollovers = try #require(number("rollovers", inJSON: outcome.text), "\(outcome.testDescription)")
        #expect(rollovers > 0, "\(outcome.testDescription)")
      }
    }

    /// 200 MB of lines in no order.
    private static let makeLines = """
      import random, sys
      source = random.Random(7)
      with open(sys.argv[1], "wb") as file:
          for _ in range(200):
              digits = source.randbytes(500_000).hex().encode()
              file.write(b"".join(digits[at : at + 99] + b"\\n" for at in range(0, len(digits), 99)))
      """

    @Test(arguments: Sandbox.places)
    func tarKeepsEverything(in place: Place) async throws {
      try await Sandbox.with { sandbox in
        try await sandbox.expectSameAsOnDisk(
          """
          from=/usr/include
          tar cf all.tar --sort=name -C $from .
          mkdir all && tar xpf all.tar -C all
          diff -r --no-dereference $from all
          # A directory's size is the filesystem's own affair.
          look() { cd "$1"; find . -printf '%p %y %m %T@ %l %U %G %n ' \\( -type d -printf '\\n' -o -printf '%s\\n' \\) | LC_ALL=C sort; }
          (look all)
          tar c --sort=name -C all . | sha256sum
          sha256sum < all.tar
          rm -r all
          ls -A
          """, in: place)
      }
    }

    @Test(arguments: Sandbox.places)
    func sqliteKeepsItsRows(in place: Place) async throws {
      try await Sandbox.with { sandbox in
        try await sandbox.expectSameAsOnDisk(
          """
          for journal in delete wal memory; do
            echo "$journal"
            sqlite3 rows.db "pragma journal_mode=$journal" ".read $1"
            sqlite3 rows.db "pragma mmap_size=100000000; pragma integrity_check; select count(*), sum(key) from rows;"
            sqlite3 rows.db .dump | sha256sum
            sha256sum < rows.db
            rm rows.db*
          done
          ls -A
          """, [sandbox.file("rows.sql", Self.rows)], in: place)
      }
    }

    private static let rows = """
      pragma cache_size = 200;
      create table rows (id integer primary key, key integer, text text);
      begin;
      insert into rows with recursive n (i) as (select 1 union all select i + 1 from n where i < 100000)
        select i, (i * 7919) % 1000003, printf('row %d of the table', i * 31) from n;
      commit;
      create index by_key on rows (key);
      create index by_text on rows (text, key);
      begin; update rows set text = text || ' changed' where key % 3 = 0; rollback;
      update rows set text = upper(text) where key % 5 = 0;
      delete from rows where key % 7 = 0;
      select key, text from rows where key between 100 and 140 order by key;
      select count(*) from (select distinct substr(text, 5) from rows order by text desc);
      vacuum;
      """
  }
}

/// The first number called `name` in a JSON text.
func number(_ name: String, inJSON text: some StringProtocol) -> Int? {
  guard let key = text.firstRange(of: "\"\(name)\"") else { return nil }
  return Int(text[key.upperBound...].drop { !$0.isNumber && $0 != "-" }.prefix { $0.isNumber || $0 == "-" })
}

extension Sandbox {
  /// Makes a file for a program to read, and returns its path.
  func file(_ name: String, _ text: String) throws -> String {
    let path = work.appending(name)
    try path.write(text.utf8)
    return path.string
  }
}
