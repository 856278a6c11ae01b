import TestSupport
import Testing

@testable import TemporaryFiles

/// Random scripts on text files, here and in CPython.
@Suite struct TextComparisonTests {
  @Test func textOverBytesAnswersAsCPython() throws {
    try compare(SeededGenerator.testSeed(), count: 400) { script, chunkSize in
      let content = MemoryContent(bytes(ofHex: script.content))
      return try TextSubject(script, MemoryFile(content), chunkSize: chunkSize).run(script) { _ in content.bytes }
    }
  }

  @Test func textInASpooledFileAnswersAsCPython() throws {
    try compare(SeededGenerator.testSeed() + 1, count: 400, spooled: true) { script, chunkSize in
      guard case .number(let threshold) = script.settings["max_size"] else { preconditionFailure() }
      var file = try SpooledTemporaryFile(threshold: .bytes(Int64(threshold)))
      try file.write(bytes(ofHex: script.content))
      try file.seek(to: 0)
      return try TextSubject(script, file, chunkSize: chunkSize).run(script) { file throws(TemporaryFileError) in
        try file.seek(to: 0)
        return try file.readToEnd()
      }
    }
  }

  private func compare(
    _ seed: UInt64, count: Int, spooled: Bool = false,
    _ run: (TextScript, Int) throws -> TextOutcome
  ) throws {
    var generator = TextScriptGenerator(seed: seed, spooled: spooled)
    let scripts = (0..<count).map { _ in generator.next() }
    let references = try TextReference.run(scripts.map(\.script))
    var answers = 0
    for ((script, chunkSize), reference) in zip(scripts, references) {
      let ours = try run(script, chunkSize)
      answers += reference.answers.count
      if let difference = difference(ours, reference) {
        report(seed, script, chunkSize, ours, reference, difference)
      }
    }
    // The comparison would be worth nothing if most scripts ended early.
    #expect(answers > count * TextScriptGenerator.steps / 2)
  }

  /// nil if both are the same as far as Python goes.
  private func difference(_ ours: TextOutcome, _ reference: TextOutcome) -> String? {
    for (index, answer) in reference.answers.enumerated() {
      // Python tells undecodable bytes when it reads ahead of them, and knows UTF-16 only with a mark.
      if index == reference.answers.count - 1, answer.hasPrefix("! "), answer != "! encodingFailed" { return nil }
      guard index < ours.answers.count, answer == TextReference.anything || ours.answers[index] == answer else {
        return "step \(index)"
      }
    }
    return reference.content == nil || ours.content == reference.content ? nil : "the content"
  }

  private func report(
    _ seed: UInt64, _ script: TextScript, _ chunkSize: Int, _ ours: TextOutcome,
    _ reference: TextOutcome, _ difference: String
  ) {
    let steps = script.steps.enumerated().map { index, step in
      let expected = reference.answers.indices.contains(index) ? reference.answers[index] : "-"
      let got = ours.answers.indices.contains(index) ? ours.answers[index] : "-"
      return "\(index) \(step) -> \(expected.debugDescription)"
        + (got == expected ? "" : ", ours \(got.debugDescription)")
    }
    Issue.record(
      """
      \(difference) differs from CPython. Replay with SPOOLFS_SEED=\(seed).
      \(script.settings) chunks of \(chunkSize), at first \(script.content)
      \(steps.joined(separator: "\n"))
      at the end \(reference.content ?? "-")
      ours       \(ours.content ?? "-")
      """)
  }
}

/// Makes scripts for text files.
struct TextScriptGenerator {
  static let steps = 24
  private var random: SeededGenerator
  private let spooled: Bool

  init(seed: UInt64, spooled: Bool) {
    random = SeededGenerator(seed: seed)
    self.spooled = spooled
  }

  private static let common = ["a", "b c", "\n", "\r", "\r\n", "\n\n", "line\n", "x\r\ny", "0123456789abcdef", ""]
  private static let characters: [(encoding: String, characters: [String])] = [
    ("utf-8", ["é", "€", "😀", "\u{feff}", "\u{0}"]), ("utf-8", ["é", "€", "😀"]), ("utf-8-sig", ["é", "€", "😀"]),
    ("utf-16", ["é", "€", "😀"]), ("utf-16-le", ["é", "😀"]), ("utf-16-be", ["é", "😀"]), ("utf-32", ["é", "😀"]),
    ("utf-32-be", ["é", "😀"]), ("utf-32-le", ["é"]), ("latin-1", ["é", "\u{85}", "€"]), ("ascii", ["é"]),
    ("cp1252", ["é", "€", "Ж"]), ("koi8-r", ["Ж", "я"]), ("cp437", ["é", "Γ"]), ("shift_jis", ["あ", "漢", "ｱ"]),
    ("euc_jp", ["あ", "漢"]), ("euc_kr", ["한", "漢"]), ("gb18030", ["é", "漢", "😀"]), ("big5", ["漢", "字"]),
  ]

  /// A script, and the size of our chunks for it.
  mutating func next() -> (script: TextScript, chunkSize: Int) {
    let (encoding, characters) = Self.characters.randomElement(using: &random)!
    let newline = [nil, "", "\n", "\r", "\r\n"].randomElement(using: &random)!
    var errors = ["strict", "ignore", "replace", "backslashreplace", "surrogateescape"].randomElement(using: &random)!
    // How long a malformed part is, differs between CPython and iconv.
    if ["shift_jis", "euc_jp", "euc_kr", "gb18030", "big5"].contains(encoding) { errors = "strict" }
    let pieces = Self.common + characters + characters
    var settings: [String: TextScript.Setting] = [
      "encoding": .text(encoding), "newline": newline.map { .text($0) } ?? .none, "errors": .text(errors),
    ]
    if spooled { settings["max_size"] = .number(.random(in: 1...200, using: &random)) }
    let isRaw = errors != "strict" && encoding.hasPrefix("utf") && Int.random(in: 0..<3, using: &random) == 0
    let content = isRaw ? (0..<Int.random(in: 0..<40, using: &random)).map { _ in byte() }.joined() : ""
    // What has been seen of line ends depends on how much is read at a time.
    let chunkSize = Bool.random(using: &random) ? 1 << 14 : Int.random(in: 1...40, using: &random)
    var steps = (0..<Self.steps).map { _ in step(pieces, isWholeChunk: chunkSize == 1 << 14) }
    if errors == "ignore", encoding.hasPrefix("utf") {
      // Where CPython is after bytes that it ignored at the end of a file, depends on how it came there.
      steps.removeAll { ["write", "tell", "truncate"].contains($0.name) }
    }
    return (TextScript(kind: "text", content: content, settings: settings, steps: steps), chunkSize)
  }

  private mutating func byte() -> String {
    let bytes: [UInt8] = [
      0x61, 0x0a, 0x0d, 0x0d, 0x00, 0xd8, 0xdc, 0xe2, 0x82, 0xac, 0xf0, 0x9f, 0x98, 0x80, 0xff, 0xc3,
    ]
    let byte = bytes.randomElement(using: &random)!
    return (byte < 16 ? "0" : "") + String(byte, radix: 16)
  }

  private mutating func step(_ pieces: [String], isWholeChunk: Bool) -> TextScript.Step {
    let number = Int.random(in: 0..<20, using: &random)
    switch Int.random(in: 0..<24, using: &random) {
    case 0...6:
      let text = (0..<Int.random(in: 1..<6, using: &random)).map { _ in pieces.randomElement(using: &random)! }.joined()
      return .init(name: "write", text: text)
    case 7...10: return .init(name: "read", number: number)
    case 11: return .init(name: "read")
    case 12...13: return .init(name: "readline")
    case 14: return .init(name: "readline", number: number)
    case 15: return .init(name: "readlines")
    case 16...17: return .init(name: "tell")
    case 18...20: return .init(name: "seek", number: Int.random(in: 0..<3, using: &random) == 0 ? 0 : number)
    case 21: return .init(name: "seek_end")
    case 22: return .init(name: number < 10 ? "truncate" : "flush")
    default: return .init(name: isWholeChunk ? "newlines" : "flush")
    }
  }
}

/// Runs scripts on a text stream of ours.
struct TextSubject<File: ByteFile & ~Copyable>: ~Copyable {
  private var text: TextStream<File>
  private var marks = [TextPosition(offset: 0)]

  init(_ script: TextScript, _ file: consuming File, chunkSize: Int) throws {
    func setting(_ name: String) -> String? {
      if case .text(let text) = script.settings[name] { text } else { nil }
    }
    let modes: [String?: NewlineMode] = [nil: .universal, "": .untranslated, "\n": .lf, "\r": .cr, "\r\n": .crlf]
    let errors: [String: TextErrorMode] = [
      "strict": .strict, "ignore": .ignore, "replace": .replace, "backslashreplace": .backslashReplace,
      "surrogateescape": .surrogateEscape,
    ]
    let encoding = try TextEncoding(named: setting("encoding")!)
    text = TextStream(
      file, encoding: encoding, newline: modes[setting("newline")]!, errors: errors[setting("errors")!]!,
      chunkSize: chunkSize)
  }

  /// - Parameter content: the bytes of the file.
  consuming func run(
    _ script: TextScript, content: (inout File) throws(TemporaryFileError) -> [UInt8]
  ) throws -> TextOutcome {
    var answers: [String] = []
    for step in script.steps {
      do throws(TemporaryFileError) {
        answers.append("= " + (try perform(step)))
      } catch {
        answers.append("! \(error.code)")
        if error.code != .encodingFailed { break }
      }
    }
    let bytes = try text.withFile(content)
    return TextOutcome(answers: answers, content: hex(bytes))
  }

  private mutating func perform(_ step: TextScript.Step) throws(TemporaryFileError) -> String {
    switch step.name {
    case "write": try text.write(step.text!)
    case "read":
      guard let number = step.number else { return try text.readToEnd() }
      return try text.read(count: number)
    case "readline": return try text.readLine(maximumCount: step.number ?? .max) ?? ""
    case "readlines": return try text.readLines().joined(separator: "|")
    case "tell": marks.append(try text.position)
    case "seek": try text.seek(to: marks[step.number! % marks.count])
    case "seek_end": try text.seekToEnd()
    case "truncate": try text.resize()
    case "flush": try text.flush()
    case "newlines":
      let names: [(NewlineKinds, String)] = [(.cr, "cr"), (.crlf, "crlf"), (.lf, "lf")]
      return names.filter { text.newlines.contains($0.0) }.map(\.1).joined(separator: " ")
    default: preconditionFailure("no such step: \(step)")
    }
    return ""
  }
}

func hex(_ bytes: [UInt8]) -> String { bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined() }

func bytes(ofHex text: String) -> [UInt8] {
  let digits = Array(text.utf8)
  return stride(from: 0, to: digits.count, by: 2).map {
    UInt8(String(decoding: digits[$0...$0 + 1], as: UTF8.self), radix: 16)!
  }
}
