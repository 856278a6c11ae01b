import Glibc
import SystemPackage
import Testing

extension CommandTests {
  /// What others chose does no harm on a terminal.
  @Suite(.serialized, .timeLimit(.minutes(10))) struct Escapes {
    /// ESC, newline, BEL, no UTF-8, right-to-left override, backslash.
    private static let name: [UInt8] = Array("n\u{1b}[31m\n\u{7}".utf8) + [0xff] + Array("\u{202e}\\z".utf8)
    private static let shown = #"n\033[31m\n\a\377\342\200\256\\z"#
    /// printf(1)'s way to write the name.
    private static let format = #"n\033[31m\n\007\377\342\200\256\\z"#

    /// Expects nothing that a terminal obeys but the ends of lines.
    private func expectPlain(_ outcome: Outcome, sourceLocation: SourceLocation = #_sourceLocation) {
      for bytes in [outcome.output, outcome.errorOutput] {
        let isPlain = !bytes.contains { $0 < 0x20 && $0 != 10 || $0 == 0x7f || $0 == 0xff }
        let text = String(decoding: bytes, as: UTF8.self)
        #expect(isPlain && !text.contains("\u{202e}"), "\(text.debugDescription)", sourceLocation: sourceLocation)
      }
    }

    /// Runs `spoolfs` with `$N`, the evil name below the sandbox's work directory, in the arguments.
    private func spoolfs(_ sandbox: Sandbox, _ arguments: String) async throws -> Outcome {
      let script = "N=$(printf '\(Self.format)'; echo .); N=${N%.}; \(arguments)"
      return try await sandbox.shell(script, [Sandbox.executable.string])
    }

    @Test(arguments: Sandbox.users) func pathsOfMounts(user: uid_t?) async throws {
      try await Sandbox.with(user: user) { sandbox in
        let path = "\(sandbox.work)/\(Self.shown)"
        try await spoolfs(sandbox, "mkdir \"$N\" && \"$1\" mount \"$N\"").expect("")
        let table = try await sandbox.spoolfs(["status"])
        expectPlain(table)
        #expect(table.text.split(separator: "\n").contains { $0.hasSuffix("  \(path)") }, "\(table.testDescription)")
        let json = try await sandbox.spoolfs(["status", "--json"])
        expectPlain(json)
        let check = """
          import json, os, sys
          paths = [os.fsencode(d["path"]) for d in json.load(sys.stdin)]
          name = b"n\\033[31m\\n\\007\\377\\342\\200\\256\\\\z"
          print(os.path.join(os.fsencode(sys.argv[1]), name) in paths)
          """
        try await sandbox.shell("printf %s \"$1\" | python3 -c \"$2\" \"$3\"", [json.text, check, sandbox.work.string])
          .expect("True\n")
        let again = try await spoolfs(sandbox, "\"$1\" mount \"$N\"")
        #expect(again.errorText == "spoolfs: \(path) is a spoolfs mount already; --nonempty mounts over it\n")
        let busy = try await spoolfs(
          sandbox,
          """
          cp /bin/sleep "$N.sleep" && cd "$N" && { "../$N.sleep" 1000 & } && cd .. &&
          until [ "$(readlink /proc/$!/exe | tail -c 7)" = .sleep ]; do sleep 0.05; done
          "$1" unmount "$N"; s=$?; kill -9 $!; exit $s
          """)
        expectPlain(busy)
        #expect(busy.exitCode == 75)
        // The kernel cuts the command's name off after 15 bytes.
        #expect(busy.errorText.contains(#"(n\033[31m\n\a\377\342\200\256\\z.)"#), "\(busy.errorText)")
        #expect(busy.errorText.hasPrefix("spoolfs: \(path) is in use by "))
        try await spoolfs(sandbox, "until \"$1\" unmount \"$N\" 2>/dev/null; do sleep 0.05; done; rmdir \"$N\"").expect(
          "")
      }
    }

    @Test func whatMessagesQuote() async throws {
      try await Sandbox.with { sandbox in
        for (arguments, status) in [
          ("mount \"$N\"", 66), ("unmount \"$N\"", 64), ("status \"$N\"", 64), ("mount --size \"1$N\" /mnt", 64),
          ("mount -o \"$N\" /mnt", 64), ("mount -o \"mode=$N\" /mnt", 64), ("mount --spill-dir \"/x$N\" \"$2\"", 78),
          ("run --spill-dir \"/x$N\" true", 125), ("run -- \"/$N\"", 127), ("\"$N\"", 64), ("\"--$N\"", 64),
          ("mount -o \"spill_dir=/x$N\" \"$2\"", 78), ("run --lifetime \"$N\" true", 125),
        ] {
          let outcome = try await spoolfs(sandbox, "set -- \"$1\" \"$SPOOLFS_TEST_SANDBOX/mnt\"; \"$1\" \(arguments)")
          #expect(outcome.exitCode == Int32(status), "\(arguments): \(outcome.testDescription)")
          expectPlain(outcome)
          #expect(outcome.errorText.contains(#"n\033[31m\n\a\377\342\200\256"#), "\(arguments): \(outcome.errorText)")
        }
      }
    }
  }
}
