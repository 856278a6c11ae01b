import Glibc
import SystemPackage
import Testing

@testable import TemporaryFiles

@Suite struct TextWritingTests {
  @Test func textIsCollectedUntilThereIsAChunk() throws {
    let content = MemoryContent()
    var text = textStream(content, chunkSize: 100)
    for _ in 0..<9 { try text.write("0123456789") }
    #expect(content.writeCount == 0 && text.pendingCount == 90)
    try text.write("0123456789")
    #expect(content.writeCount == 1 && content.bytes.count == 100 && text.pendingCount == 0)
    try text.write("x")
    _ = try text.position
    #expect(content.bytes.count == 101 && content.flushCount == 0)
    try text.write("y")
    #expect(try text.readToEnd() == "" && content.bytes.count == 102)
    try text.write("z")
    try text.flush()
    #expect(content.bytes.count == 103 && content.flushCount == 1)
  }

  @Test func lineBufferingFlushesLines() throws {
    let content = MemoryContent()
    var text = TextStream(MemoryFile(content), lineBuffering: true)
    try text.write("a")
    #expect(content.flushCount == 0)
    try text.write("b\nc")
    #expect(content.flushCount == 1 && content.bytes.count == 4)
    try text.write("\r")
    #expect(content.flushCount == 2)
    text.lineBuffering = false
    text.writeThrough = true
    try text.write("x")
    #expect(content.flushCount == 2 && content.bytes.count == 6)
  }

  @Test func whatIsDroppedWithoutClosingIsWritten() throws {
    let content = MemoryContent()
    do {
      var text = textStream(content)
      try text.write("text")
    }
    #expect(content.bytes == Array("text".utf8))
    content.capacity = 5
    do {
      var text = textStream(content)
      try text.seekToEnd()
      try text.write("too much")
    }
    #expect(content.bytes.count == 4)
  }

  @Test(arguments: [false, true])
  func textThatCouldNotBeWrittenIsWrittenOnceLater(writesPart: Bool) throws {
    let content = MemoryContent()
    content.capacity = 7
    content.writesPart = writesPart
    var text = textStream(content, chunkSize: 10)
    try text.write("01234")
    let error = #expect(throws: TemporaryFileError.self) { try text.write("56789abc") }
    #expect(error?.code == .noSpace)
    let kept = writesPart ? 6 : 13
    #expect(error?.message.contains("; \(kept) bytes of text are kept, and flushing tries") == true)
    #expect(text.pendingCount == kept)
    // All that flushes fails as well, and nothing moves.
    #expect(throws: TemporaryFileError.self) { try text.flush() }
    #expect(throws: TemporaryFileError.self) { try text.seekToStart() }
    #expect(throws: TemporaryFileError.self) { try text.readLine() }
    #expect(throws: TemporaryFileError.self) { _ = try text.position }
    #expect(throws: TemporaryFileError.self) { try text.resize() }
    #expect(text.pendingCount == kept)
    content.capacity = .max
    try text.write("def")
    try text.close()
    #expect(String(decoding: content.bytes, as: UTF8.self) == "0123456789abcdef")
  }

  @Test func whatCannotBeWrittenCanBeGivenUp() throws {
    let content = MemoryContent()
    content.capacity = 4
    var text = textStream(content)
    try text.write("0123456789")
    #expect(throws: TemporaryFileError.self) { try text.flush() }
    #expect(text.discardPending() == 10)
    try text.write("abc")
    try text.seekToStart()
    #expect(try text.readToEnd() == "abc")
  }

  @Test func aFileThatCannotBeWrittenIsClosedAllTheSame() throws {
    let content = MemoryContent()
    content.capacity = 0
    var text = textStream(content)
    try text.write("x")
    let error = #expect(throws: TemporaryFileError.self) { try text.close() }
    #expect(error?.code == .noSpace && error?.message.contains("kept") == false)
    #expect(text.isClosed == true)
    try text.close()
  }

  @Test func aFileThatCannotBeReadSaysSoAndGoesOnLater() throws {
    let content = MemoryContent(Array("one\ntwo\n".utf8))
    var text = textStream(content, chunkSize: 5)
    #expect(try text.readLine() == "one\n")
    content.readFails = true
    let error = #expect(throws: TemporaryFileError.self) { try text.readLine() }
    #expect(error?.errno == .ioError)
    content.readFails = false
    #expect(try text.readToEnd() == "two\n")
  }

  @Test func aClosedTextRefusesEverything() throws {
    var text = textStream(MemoryContent(Array("abc".utf8)))
    _ = try text.read(count: 1)
    try text.close()
    #expect(text.isClosed == true)
    func refuses(_ body: () throws(TemporaryFileError) -> Void) {
      do throws(TemporaryFileError) {
        try body()
        Issue.record("no error")
      } catch {
        #expect(error.code == .closed)
      }
    }
    refuses { () throws(TemporaryFileError) in _ = try text.read(count: 1) }
    refuses { () throws(TemporaryFileError) in _ = try text.readToEnd() }
    refuses { () throws(TemporaryFileError) in _ = try text.readLine() }
    refuses { () throws(TemporaryFileError) in try text.write("x") }
    refuses { () throws(TemporaryFileError) in try text.flush() }
    refuses { () throws(TemporaryFileError) in try text.seekToStart() }
    refuses { () throws(TemporaryFileError) in try text.seekToEnd() }
    refuses { () throws(TemporaryFileError) in _ = try text.position }
    refuses { () throws(TemporaryFileError) in try text.resize() }
  }

  @Test func substringsAndLinesAreWritten() throws {
    let content = MemoryContent()
    var text = textStream(content)
    try text.write("xabcx".dropFirst().dropLast())
    try text.writeLines(["1\n", "2"])
    try text.close()
    #expect(String(decoding: content.bytes, as: UTF8.self) == "abc1\n2")
  }

  @Test func settingsAreTold() throws {
    let text = textStream(MemoryContent(), .utf16, newline: .crlf, errors: .replace)
    #expect(text.encoding == .utf16 && text.encoding.name == "utf-16" && text.errors == .replace)
    #expect(text.newline == .crlf && text.mode == "w+" && text.isClosed == false && text.newlines == [])
  }
}

/// Text across the move of a file from memory to disk.
@Suite struct TextRollTests {
  @Test(arguments: ["utf-8", "utf-16", "utf-8-sig", "shift_jis", "iso2022_jp"])
  func positionAndSettingsSurviveTheRoll(name: String) throws {
    let file = try SpooledTemporaryFile(threshold: .bytes(1000))
    var text = TextStream(file, encoding: try TextEncoding(named: name), newline: .universal, chunkSize: 16)
    try text.write("あa\r\nb漢\nend")
    try text.seekToStart()
    #expect(try text.readLine() == "あa\n")
    let place = try text.position
    #expect(try text.read(count: 1) == "b")
    try text.withFile { file throws(TemporaryFileError) in
      #expect(file.isRolledOver == false)
      try file.rollOver()
    }
    #expect(try text.readLine() == "漢\n")
    try text.seek(to: place)
    #expect(try text.readToEnd() == "b漢\nend")
    try text.write("!")
    try text.seek(to: place)
    #expect(try text.readToEnd() == "b漢\nend!")
    #expect(text.encoding.name == (try TextEncoding(named: name)).name && text.newline == .universal)
    try text.close()
  }

  @Test func theWriteThatExceedsRollsTheFile() throws {
    var text = TextStream(try SpooledTemporaryFile(threshold: .bytes(10)), encoding: .utf8, newline: .crlf)
    try text.write("12345678\n")
    #expect(try text.withFile { file throws(TemporaryFileError) in file.isRolledOver } == false)
    try text.write("é")
    #expect(try text.withFile { file throws(TemporaryFileError) in file.isRolledOver } == true)
    try text.seekToStart()
    #expect(try text.readToEnd() == "12345678\r\né")
  }

  @Test func aRollThatFailsLosesNoText() async {
    await #expect(processExitsWith: .success) {
      var text = TextStream(try SpooledTemporaryFile(threshold: .bytes(10)), chunkSize: 8)
      try text.write("0123456789")
      var held: [Int32] = []
      var limit = rlimit(rlim_cur: 64, rlim_max: 64)
      setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
      while case let descriptor = dup(0), descriptor >= 0 { held.append(descriptor) }
      let error = #expect(throws: TemporaryFileError.self) { try text.write("abcdefgh") }
      #expect(error?.code == .rolloverFailed)
      #expect(error?.message.contains("; 8 bytes of text are kept") == true)
      #expect(throws: TemporaryFileError.self) { try text.readLine() }
      #expect(throws: TemporaryFileError.self) { try text.write("ij") }
      #expect(text.pendingCount == 10)
      for descriptor in held { close(descriptor) }
      try text.flush()
      try text.seekToStart()
      #expect(try text.readToEnd() == "0123456789abcdefghij")
    }
  }

  @Test func aFileThatMustNotGrowSaysSo() throws {
    var text = TextStream(try SpooledTemporaryFile(threshold: .bytes(10), maximumSize: 12), chunkSize: 8)
    try text.write("0123456789")
    let error = #expect(throws: TemporaryFileError.self) { try text.write("abcdefgh") }
    #expect(error?.code == .sizeLimitExceeded)
    #expect(text.discardPending() == 8)
    try text.seekToStart()
    #expect(try text.readToEnd() == "0123456789")
  }
}
