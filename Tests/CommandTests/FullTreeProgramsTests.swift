import Glibc
import SystemPackage
import Testing

extension CommandTests {
  /// What programs say where space ends: as on tmpfs, also those that do not look at what close(2) says.
  @Suite(.serialized, .timeLimit(.minutes(10))) struct FullTreeProgramsTests {
    /// Each user and cache mode.
    static let ways: [(user: uid_t?, cache: String)] = Sandbox.users.flatMap { user in
      ["writeback", "writethrough", "none"].map { (user, $0) }
    }

    /// Runs a script in a mount of 32 MiB. It ends after two minutes whatever happens: the connection is aborted then, so
    /// that nobody waits for the mount for ever.
    private func inSmallTree(_ way: (user: uid_t?, cache: String), _ script: String, expecting output: String)
      async throws
    {
      try await Sandbox.with(user: way.user) { sandbox in
        try await sandbox.mount(["--size=32m", "--cache=\(way.cache)"])
        let watchdog = Task.detached {
          try await Task.sleep(for: .seconds(120))
          sandbox.abortConnections()
        }
        let outcome = try await sandbox.run(
          "timeout", ["-k", "5", "110", "bash", "-c", "cd \"$1\"\n" + script, "bash", sandbox.mountPoint.string])
        watchdog.cancel()
        #expect(outcome.text == output, "\(outcome.testDescription)")
        try await sandbox.unmount()
      }
    }

    private static let fill = "dd if=/dev/zero of=fill bs=4k count=9000 2>/dev/null\n"

    @Test(arguments: ways) func shellsAndTheirToolsSayThatItIsFull(_ user: uid_t?, _ cache: String) async throws {
      try await inSmallTree(
        (user, cache),
        """
        \(Self.fill)
        echo "dd $? $(stat -c %s fill)"
        (printf hello > f) 2> message
        echo "printf $?"
        mawk 'BEGIN { for (i = 0; i < 10; i++) print "hello" > "g" }' 2> /dev/null
        echo "mawk $?"
        gawk 'BEGIN { for (i = 0; i < 10; i++) print "hello" > "h" }' 2> /dev/null
        echo "gawk $?"
        cp fill copy 2> /dev/null
        echo "cp $?"
        cat fill fill > both 2> /dev/null
        echo "cat $?"
        echo "$(stat -c %s f g h copy both | tr '\\n' ' ')"
        dd if=/dev/urandom of=fill bs=64k count=100 conv=notrunc,fsync 2> /dev/null
        echo "overwriting $?"
        cmp -n 100 fill /dev/zero > /dev/null
        echo "reading $?"
        truncate -s 31m fill
        printf hello > f && cat f
        echo " $?"
        """,
        expecting: """
          dd 1 33554432
          printf 1
          mawk 2
          gawk 2
          cp 1
          cat 1
          0 0 0 0 0 
          overwriting 0
          reading 1
          hello 0

          """)
    }

    @Test(arguments: ways) func sqliteSaysThatItIsFull(_ user: uid_t?, _ cache: String) async throws {
      try await inSmallTree(
        (user, cache),
        """
        for journal in delete wal; do
          sqlite3 db "pragma journal_mode=$journal; create table t (a);
            insert into t values ('kept');
            with recursive n (i) as (select 1 union all select i + 1 from n where i < 100000)
              insert into t select randomblob(1000) from n;" 2> message > /dev/null
          echo "$?"
          sqlite3 db 'pragma integrity_check; select count(*) from t;'
          rm -f db*
        done
        """,
        expecting: "13\nok\n1\n13\nok\n1\n")
    }

    /// tmpfs tells lmdb as well; its pages go to the file with writev(2) and pwritev(2).
    @Test(arguments: ways) func lmdbSaysThatItIsFull(_ user: uid_t?, _ cache: String) async throws {
      try await inSmallTree(
        (user, cache),
        """
        /usr/bin/python3 - <<'PROGRAM'
        import lmdb
        environment = lmdb.open("database", map_size=1 << 30)
        committed = 0
        try:
            for number in range(600):
                with environment.begin(write=True) as transaction:
                    transaction.put(b"%d" % number, b"x" * 1_000_000)
                committed = number + 1
        except lmdb.Error as error:
            print("refused")
        environment.close()
        environment = lmdb.open("database", map_size=1 << 30)
        with environment.begin() as transaction:
            assert all(transaction.get(b"%d" % number) == b"x" * 1_000_000 for number in range(committed))
        print(20 < committed < 34)
        PROGRAM
        """,
        expecting: "refused\nTrue\n")
    }

    /// It maps what it writes, and looks at nothing.
    @Test(arguments: ways) func moldSaysThatItIsFull(_ user: uid_t?, _ cache: String) async throws {
      try await inSmallTree(
        (user, cache),
        """
        echo 'int main(void) { return 7; }' > program.c
        gcc -c program.c
        dd if=/dev/zero of=fill bs=4k count=8092 2>/dev/null
        gcc -static -fuse-ld=mold -o program program.o 2> /dev/null
        echo "$?"
        rm fill
        gcc -static -fuse-ld=mold -o program program.o
        echo "$?"
        ./program
        echo "$?"
        """,
        expecting: "1\n0\n7\n")
    }
  }
}

extension Sandbox {
  /// Makes every request fail that waits for the server of a mount of this sandbox.
  fileprivate func abortConnections() {
    for line in FilePath("/proc/self/mountinfo").bytes.split(separator: UInt8(ascii: "\n")) {
      let fields = String(decoding: line, as: UTF8.self).split(separator: " ")
      guard fields.count > 4, fields[4].hasPrefix(directory.string), fields[2].hasPrefix("0:") else { continue }
      try? FilePath("/sys/fs/fuse/connections/\(fields[2].dropFirst(2))/abort").write("1".utf8)
    }
  }
}
