import Testing

@testable import TemporaryFiles

@Suite struct TextPositionTests {
  private static let text = "a\r\né€😀\r\r\n漢b\n\u{1f600}end"

  /// Encoding, text that it has bytes for.
  static let cases: [(String, String)] = [
    ("utf-8", text), ("utf-8-sig", text), ("utf-16", text), ("utf-16-be", text), ("utf-32", text), ("utf-32-le", text),
    ("latin-1", "a\r\né\r\r\nb\nend"), ("windows-1252", "€\r\né\r\r\nb\nend"), ("shift_jis", "あ\r\n漢\r\r\nｱ\nend"),
    ("euc_kr", "한\r\n漢\r\r\nb\nend"), ("gb18030", text), ("iso2022_jp", "aあ\r\n漢\r\r\nb字\nend"),
    ("utf-7", text), ("cp1255", "שa\u{5e9}\u{5bc}b\r\n\u{5e9}\r\r\n\u{5e9}\u{5bc}c"),
    ("big5hkscs", "漢\u{ca}a\r\n字b\n\u{ea}"),
  ]

  @Test(arguments: cases)
  func readingGoesOnAtEveryPlaceThatWasTold(name: String, source: String) throws {
    let encoding = try TextEncoding(named: name)
    let content = MemoryContent()
    var writer = textStream(content, encoding)
    try writer.write(source)
    try writer.close()
    for newline in NewlineMode.allCases {
      for chunkSize in [1, 2, 3, 4, 5, 7, 11, 1 << 14] {
        var text = textStream(content, encoding, newline: newline, chunkSize: chunkSize)
        let whole = Array(try text.readToEnd().unicodeScalars)
        try text.seekToStart()
        var places = [try text.position]
        for _ in whole {
          _ = try text.read(count: 1)
          places.append(try text.position)
        }
        for index in places.indices.reversed() {
          try text.seek(to: places[index])
          let label: Comment = "\(name) \(newline) chunks of \(chunkSize) at \(index)"
          #expect(try text.position == places[index], label)
          #expect(Array(try text.readToEnd().unicodeScalars) == Array(whole[index...]), label)
        }
      }
    }
  }

  // Encodings with a state are another matter: what follows is read in the state that was there.
  @Test(arguments: cases.filter { !["iso2022_jp", "cp1255", "utf-7", "big5hkscs"].contains($0.0) })
  func writingTakesPlaceWhereReadingIs(name: String, source: String) throws {
    let encoding = try TextEncoding(named: name)
    for count in 0...source.unicodeScalars.count {
      for chunkSize in [1, 3, 1 << 14] {
        let content = MemoryContent()
        var text = textStream(content, encoding, chunkSize: chunkSize)
        try text.write(source)
        try text.seekToStart()
        let before = try text.read(count: count)
        try text.resize()
        try text.write("END")
        try text.seekToStart()
        #expect(try text.readToEnd() == before + "END", "\(name), \(count), chunks of \(chunkSize)")
      }
    }
  }

  @Test(arguments: [1, 3, 1 << 14])
  func inAnEncodingWithAStateWritingTakesPlaceAfterALine(chunkSize: Int) throws {
    let content = MemoryContent()
    var text = textStream(content, try TextEncoding(named: "iso2022_jp"), chunkSize: chunkSize)
    try text.write("漢字\nあ\n漢\n")
    try text.seekToStart()
    #expect(try text.readLine() == "漢字\n")
    #expect(try text.readLine() == "あ\n")
    try text.resize()
    try text.write("字!")
    try text.seekToStart()
    #expect(try text.readToEnd() == "漢字\nあ\n字!")
  }

  @Test func placesWithinReplacedBytesAreKept() throws {
    let content = MemoryContent([0x61, 0xff, 0xfe, 0x62])
    for chunkSize in [1, 2, 16] {
      var text = textStream(content, errors: .backslashReplace, chunkSize: chunkSize)
      let whole = #"a\xff\xfeb"#
      for count in 0...whole.utf8.count {
        try text.seekToStart()
        _ = try text.read(count: count)
        let place = try text.position
        try text.seekToEnd()
        try text.seek(to: place)
        #expect(try text.position == place)
        #expect(try text.readToEnd() == String(whole.dropFirst(count)))
      }
    }
  }

  @Test func tellingAtEachLineIsTheSameAsTellingOnce() throws {
    let content = MemoryContent()
    var text = textStream(content, .utf16BigEndian, newline: .universal, chunkSize: 100)
    try text.writeLines((0..<100).map { "line \($0)\r\n" })
    try text.seekToStart()
    var places: [TextPosition] = []
    while case let place = try text.position, try text.readLine() != nil { places.append(place) }
    #expect(places.count == 100 && Set(places).count == 100)
    for (number, place) in places.enumerated().shuffled() {
      try text.seek(to: place)
      #expect(try text.readLine() == "line \(number)\n")
    }
  }

  @Test func cuttingKeepsThePosition() throws {
    let content = MemoryContent(Array("one\ntwo\nthree\n".utf8))
    var text = textStream(content)
    _ = try text.readLine()
    let second = try text.position
    _ = try text.readLine()
    let third = try text.position
    try text.resize(to: second)
    #expect(content.bytes.count == 4)
    #expect(try text.position == third)
    #expect(try text.readToEnd() == "")
    try text.seek(to: second)
    try text.write("2\n")
    try text.seekToStart()
    #expect(try text.readToEnd() == "one\n2\n")
  }

  @Test func theFileIsWhereTheTextIs() throws {
    let content = MemoryContent(Array("é\nab\n".utf8))
    var text = textStream(content)
    _ = try text.readLine()
    #expect(try text.withFile { file throws(TemporaryFileError) in try file.position } == 3)
    #expect(try text.read(count: 1) == "a")
    try text.withFile { file throws(TemporaryFileError) in
      _ = try file.read(count: 1)
      try file.write([0x58])
      try file.seek(to: 0)
    }
    #expect(try text.readToEnd() == "é\nabX")
    try text.seekToStart()
    _ = try text.read(count: 1)
    var file = try text.detach()
    #expect(try file.position == 2)
    try file.close()
  }
}
