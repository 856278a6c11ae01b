import Testing

@testable import TemporaryFiles

@Suite struct TextErrorTests {
  struct Fault: CustomTestStringConvertible {
    var encoding = "utf-8"
    var hex: String
    /// With ignore, replace, backslashreplace, as in CPython.
    var texts: (String, String, String)
    var testDescription: String { "\(encoding) \(hex)" }
  }

  static let faults: [Fault] = [
    Fault(hex: "e282", texts: ("", "\u{fffd}", #"\xe2\x82"#)),
    Fault(hex: "e228", texts: ("(", "\u{fffd}(", #"\xe2("#)),
    Fault(hex: "f09028", texts: ("(", "\u{fffd}(", #"\xf0\x90("#)),
    Fault(hex: "eda080", texts: ("", "\u{fffd}\u{fffd}\u{fffd}", #"\xed\xa0\x80"#)),
    Fault(hex: "f4908080", texts: ("", "\u{fffd}\u{fffd}\u{fffd}\u{fffd}", #"\xf4\x90\x80\x80"#)),
    Fault(hex: "c0af", texts: ("", "\u{fffd}\u{fffd}", #"\xc0\xaf"#)),
    Fault(hex: "f09f98", texts: ("", "\u{fffd}", #"\xf0\x9f\x98"#)),
    Fault(hex: "61ff62", texts: ("ab", "a\u{fffd}b", #"a\xffb"#)),
    Fault(hex: "e282e282ac", texts: ("€", "\u{fffd}€", #"\xe2\x82€"#)),
    Fault(
      hex: "f888808080", texts: ("", "\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}", #"\xf8\x88\x80\x80\x80"#)),
    Fault(hex: "80bf", texts: ("", "\u{fffd}\u{fffd}", #"\x80\xbf"#)),
    Fault(
      hex: "e180e2f09192f1bf41",
      texts: ("A", "\u{fffd}\u{fffd}\u{fffd}\u{fffd}A", #"\xe1\x80\xe2\xf0\x91\x92\xf1\xbfA"#)),
    Fault(encoding: "utf-16-le", hex: "610000d86200", texts: ("ab", "a\u{fffd}b", #"a\x00\xd8b"#)),
    Fault(encoding: "utf-16-le", hex: "00dc6100", texts: ("a", "\u{fffd}a", #"\x00\xdca"#)),
    Fault(encoding: "utf-16-le", hex: "61003dd8", texts: ("a", "a\u{fffd}", #"a\x3d\xd8"#)),
    Fault(encoding: "utf-16-le", hex: "3dd800", texts: ("", "\u{fffd}", #"\x3d\xd8\x00"#)),
    Fault(encoding: "utf-16-be", hex: "d83dd83dde00", texts: ("😀", "\u{fffd}😀", #"\xd8\x3d😀"#)),
    Fault(encoding: "utf-32-le", hex: "00d8000061000000", texts: ("a", "\u{fffd}a", #"\x00\xd8\x00\x00a"#)),
    Fault(
      encoding: "utf-32-be", hex: "00110000000000610000",
      texts: ("a", "\u{fffd}a\u{fffd}", #"\x00\x11\x00\x00a\x00\x00"#)),
    Fault(encoding: "ascii", hex: "6180ff62", texts: ("ab", "a\u{fffd}\u{fffd}b", #"a\x80\xffb"#)),
    Fault(encoding: "windows-1252", hex: "8161", texts: ("a", "\u{fffd}a", #"\x81a"#)),
    Fault(encoding: "shift_jis", hex: "82a0ff61", texts: ("あa", "あ\u{fffd}a", #"あ\xffa"#)),
    Fault(encoding: "euc_kr", hex: "c7d1c7", texts: ("한", "한\u{fffd}", #"한\xc7"#)),
  ]

  @Test(arguments: faults)
  func undecodableBytesBecomeWhatPythonMakesOfThem(fault: Fault) throws {
    let encoding = try TextEncoding(named: fault.encoding)
    let content = bytes(ofHex: fault.hex)
    #expect(try readInEveryWay(content, encoding, errors: .ignore) == fault.texts.0)
    #expect(try readInEveryWay(content, encoding, errors: .replace) == fault.texts.1)
    #expect(try readInEveryWay(content, encoding, errors: .backslashReplace) == fault.texts.2)
  }

  @Test(arguments: faults)
  func inStrictModeTheyAreAnErrorThatSaysWhere(fault: Fault) throws {
    for chunkSize in [1, 2, 3, 1 << 14] {
      var text = textStream(
        MemoryContent(bytes(ofHex: fault.hex)), try TextEncoding(named: fault.encoding), chunkSize: chunkSize)
      for _ in 0..<2 {
        let error = #expect(throws: TemporaryFileError.self) { try text.readToEnd() }
        #expect(error?.code == .decodingFailed)
      }
    }
  }

  @Test(arguments: [1, 3, 7, 1 << 14])
  func whatComesBeforeAnUndecodableByteCanBeRead(chunkSize: Int) throws {
    let content = MemoryContent(Array("good\nline ".utf8) + [0xff] + Array("\nmore".utf8))
    var text = textStream(content, chunkSize: chunkSize)
    #expect(try text.readLine() == "good\n")
    let place = try text.position
    let error = #expect(throws: TemporaryFileError.self) { try text.readLine() }
    #expect(error?.description == "cannot read text from: ff at byte 10 is not utf-8")
    // Nothing of the line counts as read.
    #expect(try text.position == place)
    #expect(try text.read(count: 5) == "line ")
    try text.withFile { file throws(TemporaryFileError) in _ = try file.seek(to: 1, from: .current) }
    #expect(try text.readToEnd() == "\nmore")
  }

  @Test func textWithoutBytesBecomesWhatPythonMakesOfIt() throws {
    for (errors, expected) in [
      (TextErrorMode.ignore, "a-\n"), (.replace, "a???-\n"), (.backslashReplace, #"a\u20ac\U0001f600\xe9-"# + "\n"),
    ] {
      for encoding in [TextEncoding.ascii, try TextEncoding(named: "koi8_r"), try TextEncoding(named: "euc_kr")] {
        let content = MemoryContent()
        var text = textStream(content, encoding, errors: errors)
        try text.write("a€😀é-\n")
        try text.close()
        if encoding == .ascii { #expect(String(decoding: content.bytes, as: UTF8.self) == expected) }
        #expect(content.bytes.starts(with: [0x61]) && content.bytes.suffix(2) == [0x2d, 0x0a])
      }
    }
  }

  @Test(arguments: ["ascii", "latin-1", "windows-1252", "shift_jis", "iso2022_jp"])
  func aTextThatCannotBeEncodedIsNotWrittenInPart(name: String) throws {
    let content = MemoryContent()
    var text = textStream(content, try TextEncoding(named: name))
    try text.write("before ")
    for wrong in ["x😀y", "\u{e0041}", "漢字\u{1f600}"] {
      let error = #expect(throws: TemporaryFileError.self) { try text.write(wrong) }
      #expect(error?.code == .encodingFailed)
    }
    let error = #expect(throws: TemporaryFileError.self) { try text.write("ab\u{1f600}") }
    #expect(error?.message.hasPrefix("U+1F600, scalar 2 of the text, has no bytes in ") == true)
    try text.write("after")
    try text.close()
    #expect(String(decoding: content.bytes, as: UTF8.self) == "before after")
  }

  @Test func tagsThatIconvWouldDropAreReplaced() throws {
    let content = MemoryContent()
    var text = textStream(content, try TextEncoding(named: "koi8-r"), errors: .replace)
    try text.write("a\u{e0041}b")
    try text.close()
    #expect(String(decoding: content.bytes, as: UTF8.self) == "a?b")
    var other = textStream(MemoryContent(), try TextEncoding(named: "gb18030"))
    try other.write("a\u{e0041}b")
    try other.seekToStart()
    #expect(try other.readToEnd() == "a\u{e0041}b")
  }

  @Test(arguments: ["utf-8", "utf-8-sig", "utf-16-le", "ascii", "windows-1252", "shift_jis", "euc_kr", "gb18030"])
  func escapedBytesComeOutAsTheyWentIn(name: String) throws {
    let encoding = try TextEncoding(named: name)
    // Escapes themselves, in UTF-8 and UTF-16, are among them.
    var all = [0x61, 0x80, 0xff, 0xc3, 0xee, 0xbe, 0x80, 0xee, 0xbf, 0xbf, 0x80, 0xef, 0x81, 0x81].map { UInt8($0) }
    if !name.hasPrefix("utf-16") { all += Array(0x80...0xff) + [0x62] }
    let read = try? readInEveryWay(all, encoding, errors: .surrogateEscape)
    guard let read else {
      // As in Python: only bytes from 0x80 on can be kept.
      #expect(name == "utf-16-le")
      return
    }
    let content = MemoryContent()
    var text = textStream(content, encoding, errors: .surrogateEscape)
    try text.write(read)
    try text.close()
    #expect(hex(name == "utf-8-sig" ? Array(content.bytes.dropFirst(3)) : content.bytes) == hex(all))
  }

  @Test func anEscapedByteIsWrittenAsThatByte() throws {
    let content = MemoryContent([0x61, 0xff, 0xc3, 0xa9])
    var text = textStream(content, errors: .surrogateEscape)
    #expect(try text.readToEnd() == "a\u{efff}é")
    try text.write("\u{ef80}!")
    try text.close()
    #expect(content.bytes == [0x61, 0xff, 0xc3, 0xa9, 0x80, 0x21])
  }
}
