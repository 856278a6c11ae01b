import Testing

@testable import TemporaryFiles

/// A text over these bytes.
func textStream(
  _ content: MemoryContent, _ encoding: TextEncoding = .utf8, newline: NewlineMode = .untranslated,
  errors: TextErrorMode = .strict, chunkSize: Int = 1 << 14
) -> TextStream<MemoryFile> {
  TextStream(MemoryFile(content), encoding: encoding, newline: newline, errors: errors, chunkSize: chunkSize)
}

/// All of a text, in each of several ways and with chunks that end at each of its bytes. They have to agree.
func readInEveryWay(
  _ bytes: [UInt8], _ encoding: TextEncoding, newline: NewlineMode = .untranslated, errors: TextErrorMode = .strict
) throws -> String {
  var whole = textStream(MemoryContent(bytes), encoding, newline: newline, errors: errors)
  let expected = try whole.readToEnd()
  for chunkSize in 1...max(1, min(24, bytes.count + 1)) {
    var text = textStream(MemoryContent(bytes), encoding, newline: newline, errors: errors, chunkSize: chunkSize)
    #expect(try text.readToEnd() == expected, "chunks of \(chunkSize)")
    try text.seekToStart()
    var scalars = ""
    while case let scalar = try text.read(count: 1), !scalar.isEmpty { scalars += scalar }
    #expect(scalars == expected, "one by one, chunks of \(chunkSize)")
    try text.seekToStart()
    #expect(try text.readLines().joined() == expected, "lines, chunks of \(chunkSize)")
  }
  return expected
}

@Suite struct TextEncodingTests {
  struct Sample: CustomTestStringConvertible {
    var name: String
    var text: String
    var hex: String
    var testDescription: String { name }
  }

  /// As CPython has them.
  static let samples = [
    Sample(name: "utf-8", text: "a\u{0}é€😀\u{feff}", hex: "6100c3a9e282acf09f9880efbbbf"),
    Sample(name: "utf-8-sig", text: "é\u{feff}", hex: "efbbbfc3a9efbbbf"),
    Sample(name: "utf-16", text: "é😀", hex: "fffee9003dd800de"),
    Sample(name: "utf-16-le", text: "\u{feff}é😀", hex: "fffee9003dd800de"),
    Sample(name: "utf-16-be", text: "é😀", hex: "00e9d83dde00"),
    Sample(name: "utf-32", text: "é😀", hex: "fffe0000e900000000f60100"),
    Sample(name: "utf-32-le", text: "é😀", hex: "e900000000f60100"),
    Sample(name: "utf-32-be", text: "é😀", hex: "000000e90001f600"),
    Sample(name: "latin-1", text: "a\u{80}é\u{ff}", hex: "6180e9ff"),
    Sample(name: "ascii", text: "a~\u{7f}\u{0}", hex: "617e7f00"),
    Sample(name: "windows-1252", text: "é€™", hex: "e98099"),
    Sample(name: "shift_jis", text: "あ漢ｱa", hex: "82a08abfb161"),
    Sample(name: "cp932", text: "①あ", hex: "874082a0"),
    Sample(name: "euc_jp", text: "あ漢", hex: "a4a2b4c1"),
    Sample(name: "euc-kr", text: "한漢", hex: "c7d1f9d3"),
    Sample(name: "gb18030", text: "é漢😀€", hex: "a8a69d689439fc36a2e3"),
    Sample(name: "gbk", text: "漢", hex: "9d68"),
    Sample(name: "big5", text: "漢字", hex: "ba7ea672"),
    Sample(name: "koi8_r", text: "Жя", hex: "f6d1"),
    Sample(name: "cp437", text: "éΓ", hex: "82e2"),
    Sample(name: "iso8859_15", text: "€", hex: "a4"),
    Sample(name: "mac_roman", text: "é", hex: "8e"),
    Sample(name: "cp037", text: "Hello", hex: "c885939396"),
    Sample(name: "iso2022_jp", text: "aあ漢b", hex: "611b2442242234411b284262"),
  ]

  @Test(arguments: samples)
  func textBecomesTheBytesThatPythonWrites(sample: Sample) throws {
    let content = MemoryContent()
    var text = textStream(content, try TextEncoding(named: sample.name))
    try text.write(sample.text)
    try text.close()
    #expect(hex(content.bytes) == sample.hex)
  }

  @Test(arguments: samples)
  func bytesBecomeTheTextThatPythonReadsWhereverAChunkEnds(sample: Sample) throws {
    #expect(try readInEveryWay(bytes(ofHex: sample.hex), TextEncoding(named: sample.name)) == sample.text)
  }

  @Test(arguments: samples)
  func bytesThatWereWrittenInPiecesAreReadBack(sample: Sample) throws {
    let content = MemoryContent()
    var text = textStream(content, try TextEncoding(named: sample.name), chunkSize: 3)
    for _ in 0..<5 { for scalar in sample.text.unicodeScalars { try text.write(String(scalar)) } }
    try text.seekToStart()
    #expect(try text.readToEnd() == String(repeating: sample.text, count: 5))
  }

  @Test(arguments: ["utf-7", "cp1255", "cp1258", "big5hkscs", "euc_jis_2004", "iso-2022-kr", "iso2022_jp_2"])
  func encodingsWithAStateComeBackWhereverAChunkEnds(name: String) throws {
    let text = ["cp1255": "שa\u{5e9}\u{5bc}b", "cp1258": "a\u{e9}b", "big5hkscs": "漢\u{ca}a", "iso-2022-kr": "a한b\n한"][
      name]
    let encoding = try TextEncoding(named: name)
    let content = MemoryContent()
    var writer = textStream(content, encoding)
    try writer.write(text ?? "aあ漢b\n漢")
    try writer.close()
    #expect(try readInEveryWay(content.bytes, encoding) == text ?? "aあ漢b\n漢")
  }

  @Test func namesAreThoseOfPythonAndIANA() throws {
    for (name, encoding) in [
      ("UTF8", TextEncoding.utf8), ("U8", .utf8), ("utf_8_sig", .utf8WithMark), ("UTF-8-SIG", .utf8WithMark),
      ("utf-16le", .utf16LittleEndian), ("UTF_16_BE", .utf16BigEndian), ("utf32", .utf32), ("L1", .latin1),
      ("ISO-8859-1", .latin1), ("iso8859_1", .latin1), ("US-ASCII", .ascii), ("646", .ascii),
    ] { #expect(try TextEncoding(named: name) == encoding) }
    for name in [
      "sjis", "SHIFT-JIS", "windows-31j", "euckr", "korean", "EUC_JP", "ujis", "cp949", "uhc", "gb2312", "CP1252",
      "1252",
      "iso-8859-15", "latin9", "iso8859_2", "latin2", "koi8-u", "mac-cyrillic", "tis-620", "cp866", "ibm850", "hkscs",
    ] { #expect(throws: Never.self) { try TextEncoding(named: name) } }
  }

  @Test(arguments: ["", " ", "nonsense", "utf-8//TRANSLIT", "ascii//IGNORE", "/", "é", "-", "utf-9", "ascii\u{0}"])
  func anUnknownNameIsToldAtOnce(name: String) {
    let error = #expect(throws: TemporaryFileError.self) { try TextEncoding(named: name) }
    #expect(error?.code == .unsupported)
    #expect(error?.description.contains("'\(name)'") == true)
  }

  // MARK: Marks

  @Test func aMarkTellsTheOrderAndIsNoText() throws {
    #expect(try readInEveryWay(bytes(ofHex: "feff0061000a"), .utf16) == "a\n")
    #expect(try readInEveryWay(bytes(ofHex: "fffe61000a00"), .utf16) == "a\n")
    #expect(try readInEveryWay(bytes(ofHex: "0000feff00000061"), .utf32) == "a")
    #expect(try readInEveryWay(bytes(ofHex: "efbbbf61efbbbf"), .utf8WithMark) == "a\u{feff}")
    #expect(try readInEveryWay(bytes(ofHex: "efbbbf"), .utf8WithMark) == "")
    #expect(try readInEveryWay(bytes(ofHex: "fffe"), .utf16) == "")
  }

  @Test func withoutAMarkTheOrderIsTheMachines() throws {
    #expect(try readInEveryWay(bytes(ofHex: "61000a00"), .utf16) == "a\n")
    #expect(try readInEveryWay(bytes(ofHex: "6100000062000000"), .utf32) == "ab")
    #expect(try readInEveryWay(bytes(ofHex: "6162"), .utf8WithMark) == "ab")
    #expect(try readInEveryWay([], .utf16) == "")
  }

  @Test(arguments: [TextEncoding.utf8WithMark, .utf16, .utf32])
  func aMarkIsWrittenAtTheBeginningOnly(encoding: TextEncoding) throws {
    let content = MemoryContent()
    var text = textStream(content, encoding)
    try text.write("a")
    try text.flush()
    try text.write("b")
    #expect(try text.readToEnd() == "")
    try text.write("c")
    try text.seekToStart()
    #expect(try text.read(count: 1) == "a")
    try text.write("B")
    try text.seekToEnd()
    try text.write("d")
    try text.seekToStart()
    #expect(try text.readToEnd() == "aBcd")
    try text.seekToStart()
    try text.write("A")
    try text.seekToStart()
    #expect(try text.readToEnd() == "ABcd")
  }

  @Test func textIsAddedInTheOrderOfTheMark() throws {
    let content = MemoryContent(bytes(ofHex: "feff0061"))
    var text = textStream(content, .utf16)
    try text.seekToEnd()
    try text.write("b")
    try text.close()
    #expect(hex(content.bytes) == "feff00610062")
  }

  @Test func anEmptyFileGetsItsMarkAgain() throws {
    let content = MemoryContent()
    var text = textStream(content, .utf16)
    try text.write("abc")
    try text.seekToStart()
    try text.resize()
    #expect(content.bytes.isEmpty)
    try text.write("x")
    try text.close()
    #expect(hex(content.bytes) == "fffe7800")
  }

  @Test func aMarkIsTakenAwayWhereTheTextBeginsInTheFile() throws {
    let content = MemoryContent(bytes(ofHex: "0102fffe6100"))
    var text = TextStream(MemoryFile(content, position: 2), encoding: .utf16)
    let start = try text.position
    #expect(try text.readToEnd() == "a")
    try text.seek(to: start)
    #expect(try text.readToEnd() == "a")
  }
}
