import CHostCalls
import Foundation
import SystemPackage
import TestSupport
import Testing

@testable import SpoolFS

extension MountSuites {
  /// What is made later never has an earlier time, whoever stamped it: the tree, the kernel, or another filesystem.
  @Suite(.serialized) struct TimeOrderTests {
    /// A random script: each step returns what it has stamped.
    private struct Script {
      let tree: MountedTree
      /// A directory of a tmpfs.
      let elsewhere: String
      var random: SeededGenerator
      var files: [String] = []
      var open: [(name: String, file: HostFile)] = []
      var made = 0

      enum Time { case modified, changed }

      private mutating func newName() -> String {
        made += 1
        return "n\(made)"
      }

      private mutating func pick() -> String? { files.randomElement(using: &random) }

      mutating func step() throws -> [(path: String, Time)] {
        let root = (tree.path, Time.modified)
        switch Int.random(in: 0..<16, using: &random) {
        case 0, 1, 2: return try create() + [root]
        case 3: return try makeDirectoryOrLink() + [root]
        case 4, 5: return try write()
        case 6: return try writeElsewhere()
        case 7: return try renameOrUnlink() + [root]
        case 8:
          guard let name = pick() else { return [] }
          let new = newName()
          try Host.link(tree(name), tree(new))
          files.append(new)
          return [root, (tree(name), .changed)]
        case 9: return try change { try Host.changeMode($0, 0o640) }
        case 10: return try change { try Host.truncate($0, 3) }.filter { $0.1 == .modified }
        case 11: return try change { try check(host_set_times($0, .min, .min)) } + touched()
        case 12: return try changeOpenFile()
        case 13:
          if !open.isEmpty { open.removeFirst() }
        case 14: usleep(UInt32.random(in: 0..<5000, using: &random))
        default:
          // As a program that looks before it makes.
          _ = try pick().map { try Host.status(tree($0)) }
        }
        return []
      }

      private mutating func create() throws -> [(path: String, Time)] {
        let name = newName()
        files.append(name)
        let file = try HostFile(tree(name), O_CREAT | O_EXCL | O_RDWR)
        if Bool.random(using: &random) { try file.append(pattern(Int.random(in: 1..<9000, using: &random))) }
        if open.count < 5, Bool.random(using: &random) { open.append((name, file)) }
        return [(tree(name), .modified), (tree(name), .changed)]
      }

      private mutating func makeDirectoryOrLink() throws -> [(path: String, Time)] {
        let name = newName()
        if Bool.random(using: &random) { try Host.makeDirectory(tree(name)) } else { try Host.symlink("x", tree(name)) }
        return [(tree(name), .modified), (tree(name), .changed)]
      }

      private mutating func write() throws -> [(path: String, Time)] {
        guard let name = pick() else { return [] }
        let size = try Host.status(tree(name)).size
        try HostFile(tree(name)).write(pattern(100), at: Bool.random(using: &random) ? size : 0)
        return [(tree(name), .modified), (tree(name), .changed)]
      }

      private mutating func writeElsewhere() throws -> [(path: String, Time)] {
        let path = elsewhere + "/f"
        try Host.create(path, [1])
        return [(path, .modified)]
      }

      private mutating func renameOrUnlink() throws -> [(path: String, Time)] {
        guard let name = pick() else { return [] }
        files.removeAll { $0 == name }
        open.removeAll { $0.name == name }
        if Bool.random(using: &random) {
          try Host.unlink(tree(name))
          return []
        }
        let new = newName()
        files.append(new)
        try Host.rename(tree(name), tree(new))
        return [(tree(new), .changed)]
      }

      private mutating func change(_ body: (String) throws -> Void) throws -> [(path: String, Time)] {
        guard let name = pick() else { return [] }
        let path = tree(name)
        let before = try Host.status(path)
        try body(path)
        let after = try Host.status(path)
        return [(path, .changed)] + (before.size == after.size ? [] : [(path, .modified)])
      }

      private mutating func touched() throws -> [(path: String, Time)] {
        guard let name = pick() else { return [] }
        try check(host_set_times(tree(name), .max, .min))
        return [(tree(name), .modified)]
      }

      private mutating func changeOpenFile() throws -> [(path: String, Time)] {
        guard let (name, file) = open.randomElement(using: &random) else { return [] }
        switch Int.random(in: 0..<4, using: &random) {
        case 0: try file.append(pattern(100))
        case 1: try file.allocate(0, at: 0, count: 5000)
        case 2: try file.resize(to: 4000)
        default:
          try file.append(pattern(100))
          try file.sync()
        }
        return [(tree(name), .modified), (tree(name), .changed)]
      }
    }

    struct Case: Sendable, CustomTestStringConvertible {
      var cache: MountOptions.Cache
      var hasNeighbour: Bool

      var testDescription: String { cache.rawValue + (hasNeighbour ? " beside a program that stats" : "") }

      static let all = cacheModes.flatMap { cache in [false, true].map { Case(cache: cache, hasNeighbour: $0) } }
    }

    /// Runs `body` with a mount and a directory of a tmpfs.
    private static func with(_ test: Case, _ body: @escaping @Sendable (MountedTree, String) throws -> Void)
      async throws
    {
      try await withMount(options: .init(cache: test.cache)) { tree in
        var template = Array("/dev/shm/spoolfs-times-XXXXXX".utf8CString)
        let elsewhere = try #require(mkdtemp(&template).map { String(cString: $0) })
        defer { try? FileManager.default.removeItem(atPath: elsewhere) }
        try StampingNeighbour.beside(test.hasNeighbour) { try body(tree, elsewhere) }
      }
    }

    @Test(arguments: Case.all, 0..<2) func randomScripts(_ test: Case, round: Int) async throws {
      try await Self.with(test) { tree, elsewhere in
        var script = Script(
          tree: tree, elsewhere: elsewhere, random: SeededGenerator(seed: SeededGenerator.testSeed(round)))
        var latest: Int64 = 0
        for step in 0..<1500 {
          let earlier = latest
          for (path, time) in try script.step() {
            let status = try Host.status(path)
            let stamp = time == .modified ? status.modified : status.changed
            try #require(stamp >= earlier, "step \(step): \(path) is \(earlier - stamp) ns too early")
            latest = max(latest, stamp)
          }
        }
        script.open = []
        try Self.expectThatTimesStay(tree)
      }
    }

    /// The times of all names are the same when the kernel has forgotten them.
    private static func expectThatTimesStay(_ tree: MountedTree) throws {
      let names = try Host.names(tree.path)
      let times = {
        try names.map { name in
          let status = try Host.status(tree(name))
          return "\(name) \(status.modified) \(status.changed)"
        }
      }
      let before = try times()
      usleep(20_000)
      for name in names { tree.kernelForgets(name) }
      let lookups = tree.mount.statistics.requests["LOOKUP", default: 0]
      #expect(try times() == before)
      #expect(tree.mount.statistics.requests["LOOKUP", default: 0] >= lookups + UInt64(names.count))
    }

    @Test(arguments: Case.all) func stampIsNotOlderThanWhatIsWrittenBefore(_ test: Case) async throws {
      try await Self.with(test) { tree, elsewhere in
        var older = 0
        for _ in 0..<200 {
          try Host.create(tree("written"), [1])
          try Host.create(tree("stamp"))
          if try Host.status(tree("stamp")).modified < Host.status(tree("written")).modified { older += 1 }
          try Host.unlink(tree("written"))
          try Host.unlink(tree("stamp"))
        }
        #expect(older == 0)
      }
    }

    @Test(arguments: Case.all) func whatMakeHasMadeIsUpToDate(_ test: Case) async throws {
      try await Self.with(test) { tree, elsewhere in
        let makefile = "$(to)/product: $(from)/source\n\tcat $< > $@\n"
        try Host.create(tree("Makefile"), Array(makefile.utf8))
        let seen = try shell(
          """
          cd "$1" || exit
          for round in 1 2 3 4 5 6 7 8 9 10; do
            for places in ". ." ". $2" "$2 ."; do
              set -- "$1" "$2" $places
              rm -f "$3/source" "$4/product"
              echo x > "$3/source"
              make -s from="$3" to="$4" || echo failed
              make -q from="$3" to="$4" || echo "not up to date: from $3 to $4"
            done
          done
          """, tree.path, elsewhere)
        #expect(seen == "")
      }
    }
  }
}
