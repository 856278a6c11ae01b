import Glibc
import SystemPackage
import TestSupport
import Testing

@testable import TemporaryFiles

/// Random scripts of operations, with CPython's files and with ours: each operation has to give the same.
@Suite(.enabled(if: PythonReference.isAvailable, "there is no python3 to compare with"))
struct PythonComparisonTests {
  /// One script, with the answers that it got from CPython.
  private struct Script {
    let opening: String
    let operations: [FileOperation]
    var expected: ArraySlice<PythonReference.Answer> = []

    /// Every script ends with all that the file holds.
    var lines: [String] { [opening] + operations.map(\.description) + ["seek 0 0", "read"] }
  }

  private static let operations = 30

  /// Makes scripts, has CPython run them all, and then runs each here.
  private func compare(
    _ count: Int, edges: [Int], opening: (Int) -> String, _ run: (inout Run) throws -> Void
  ) throws {
    let seed = SeededGenerator.testSeed()
    var random = SeededGenerator(seed: seed)
    var scripts = (0..<count).map { number in
      let edge = edges[number % edges.count]
      var script = FileScript(&random, edge: edge)
      return Script(opening: opening(edge), operations: script.operations(Self.operations))
    }
    var answers = try PythonReference.run(scripts.flatMap(\.lines))[...]
    for index in scripts.indices {
      scripts[index].expected = answers.prefix(scripts[index].lines.count).dropFirst()
      answers = answers.dropFirst(scripts[index].lines.count)
      var checked = Run(script: scripts[index], seed: seed, edge: edges[index % edges.count])
      try run(&checked)
      if checked.differs { return }
    }
  }

  /// A script that is run with one of our files.
  private struct Run {
    let script: Script
    let seed: UInt64
    let edge: Int
    private(set) var differs = false

    init(script: Script, seed: UInt64, edge: Int) {
      self.script = script
      self.seed = seed
      self.edge = edge
    }

    mutating func perform(on file: inout some ByteFile & ~Copyable) {
      let all = script.operations + [.seek(0, .start), .readToEnd]
      for (number, (operation, expected)) in zip(all, script.expected).enumerated() {
        let answer = operation.perform(on: &file)
        if answer == expected { continue }
        // Which error it is has different names.
        if case .exception = answer, case .exception = expected { continue }
        differs = true
        Issue.record(
          """
          Operation \(number), \(operation), gives \(brief(answer)), and with CPython \(brief(expected)).
          Replay with SPOOLFS_SEED=\(seed). The script:
          \(script.lines[...(number + 1)].joined(separator: "\n"))
          """)
        return
      }
    }

    private func brief(_ answer: PythonReference.Answer) -> String {
      switch answer {
      case .bytes(let bytes) where bytes.count > 200:
        "\(bytes.count) bytes beginning with \(text(Array(bytes[..<200])))"
      case .bytes(let bytes): text(bytes)
      default: "\(answer)"
      }
    }
  }

  @Test func spooledFilesAroundTheirThreshold() throws {
    try compare(1500, edges: [1, 10, 100, 4096, 9000]) {
      #"open {"kind": "spooled", "max_size": \#($0)}"#
    } _: { run in
      var file = try SpooledTemporaryFile(threshold: .bytes(Int64(run.edge)))
      run.perform(on: &file)
    }
  }

  @Test func spooledFilesWhoseDescriptorIsGivenAway() throws {
    try compare(300, edges: [10, 5000]) {
      #"open {"kind": "spooled", "max_size": \#($0)}"#
    } _: { run in
      var file = try SpooledTemporaryFile()
      _ = try file.fileDescriptor()
      run.perform(on: &file)
    }
  }

  private static let bufferings: [(Buffering, Int)] = [(.standard, -1), (.none, 0), (.line, -1), (.bytes(7), 7)]

  @Test(arguments: 0..<4) func unnamedFilesWithEachBuffering(number: Int) throws {
    let (buffering, pythons) = Self.bufferings[number]
    try compare(400, edges: [7, 50, 8192]) { _ in
      #"open {"kind": "unnamed", "buffering": \#(pythons)}"#
    } _: { run in
      var file = try TemporaryFile(buffering: buffering)
      run.perform(on: &file)
    }
  }

  @Test(arguments: 0..<4) func namedFilesWithEachBuffering(number: Int) throws {
    let (buffering, pythons) = Self.bufferings[number]
    try compare(200, edges: [7, 50, 8192]) { _ in
      #"open {"kind": "named", "buffering": \#(pythons)}"#
    } _: { run in
      var file = try NamedTemporaryFile(buffering: buffering)
      run.perform(on: &file)
    }
  }
}
