import Testing

@testable import TemporaryFiles

@Suite struct TextNewlineTests {
  static let source = "a\nb\r\nc\rd\r\r\n\n\re\r"

  @Test(arguments: [
    (NewlineMode.universal, ["a\n", "b\n", "c\n", "d\n", "\n", "\n", "\n", "e\n"]),
    (.untranslated, ["a\n", "b\r\n", "c\r", "d\r", "\r\n", "\n", "\r", "e\r"]),
    (.lf, ["a\n", "b\r\n", "c\rd\r\r\n", "\n", "\re\r"]),
    (.cr, ["a\nb\r", "\nc\r", "d\r", "\r", "\n\n\r", "e\r"]),
    (.crlf, ["a\nb\r\n", "c\rd\r\r\n", "\n\re\r"]),
  ])
  func linesEndAsInPythonWhereverAChunkEnds(newline: NewlineMode, lines: [String]) throws {
    for name in ["utf-8", "utf-16-le", "utf-32-be", "cp1252", "shift_jis", "iso2022_jp", "cp037"] {
      let encoding = try TextEncoding(named: name)
      let content = MemoryContent()
      var writer = textStream(content, encoding)
      try writer.write(Self.source)
      try writer.close()
      for chunkSize in 1...10 {
        var text = textStream(content, encoding, newline: newline, chunkSize: chunkSize)
        #expect(try text.readLines() == lines, "\(name), chunks of \(chunkSize)")
        #expect(try text.readLine() == nil)
        #expect(text.newlines == (newline.seesAllKinds ? [.cr, .lf, .crlf] : []))
        let whole = lines.joined()
        #expect(try readInEveryWay(content.bytes, encoding, newline: newline) == whole)
      }
    }
  }

  @Test(arguments: [
    (NewlineMode.universal, "a\nb\r\n"), (.untranslated, "a\nb\r\n"), (.lf, "a\nb\r\n"), (.cr, "a\rb\r\r"),
    (.crlf, "a\r\nb\r\r\n"),
  ])
  func lineFeedsAreWrittenAsTheModeSays(newline: NewlineMode, written: String) throws {
    let content = MemoryContent()
    var text = textStream(content, newline: newline)
    try text.write("a\nb\r\n")
    try text.close()
    #expect(String(decoding: content.bytes, as: UTF8.self) == written)
  }

  @Test func kindsAreSeenAsTheyAreRead() throws {
    for (source, kinds) in [
      ("ab", NewlineKinds()), ("a\n", .lf), ("a\rb", .cr), ("a\r\nb", .crlf), ("a\r\nb\nc", [.crlf, .lf]), ("a\r", .cr),
    ] {
      for newline in [NewlineMode.universal, .untranslated] {
        var text = textStream(MemoryContent(Array(source.utf8)), newline: newline, chunkSize: 1)
        #expect(text.newlines == [])
        _ = try text.readToEnd()
        #expect(text.newlines == kinds)
        try text.seekToStart()
        #expect(text.newlines == [])
      }
    }
  }

  @Test func aLineIsCutOffAfterSoManyScalars() throws {
    var text = textStream(MemoryContent(Array("é€😀ab\r\nxyz".utf8)), chunkSize: 4)
    #expect(try text.readLine(maximumCount: 0) == "")
    #expect(try text.readLine(maximumCount: 2) == "é€")
    #expect(try text.readLine(maximumCount: 4) == "😀ab\r")
    #expect(try text.readLine(maximumCount: 4) == "\n")
    #expect(try text.readLine(maximumCount: 3) == "xyz")
    #expect(try text.readLine(maximumCount: 3) == nil)
    let error = #expect(throws: TemporaryFileError.self) { try text.readLine(maximumCount: -1) }
    #expect(error?.code == .invalidArgument)
  }

  @Test func linesAreReadUntilThereAreMoreThanTheHint() throws {
    let content = MemoryContent(Array("12\n45\n78\n".utf8))
    for (hint, count) in [(0, 3), (1, 1), (2, 1), (3, 2), (5, 2), (6, 3), (100, 3)] {
      var text = textStream(content)
      #expect(try text.readLines(sizeHint: hint).count == count)
    }
    var text = textStream(content)
    var lines: [String] = []
    try text.forEachLine { lines.append($0) }
    #expect(lines == ["12\n", "45\n", "78\n"])
  }

  @Test func aFileThatGrowsGoesOn() throws {
    let content = MemoryContent([0x61, 0x0d])
    var text = textStream(content, newline: .universal)
    #expect(try text.read(count: 1) == "a")
    content.bytes += [0x0a, 0xe2]
    #expect(try text.readLine() == "\n")
    content.bytes += [0x82, 0xac]
    #expect(try text.readToEnd() == "€")
    #expect(text.newlines == .crlf)
  }
}
