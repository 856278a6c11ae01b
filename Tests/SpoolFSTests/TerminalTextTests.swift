import SystemPackage
import Testing

@testable import SpoolFS

@Suite("Text for terminals and logs")
struct TerminalTextTests {
  @Test(
    "values are escaped as ls -b does",
    arguments: [
      ("plain name.txt", "plain name.txt"), ("ünï😀\u{200d}", "ünï😀\u{200d}"), ("\u{1b}[31mred", #"\033[31mred"#),
      ("a\nb\tc\u{7}", #"a\nb\tc\a"#), ("\0\u{1}\u{7f}", #"\000\001\177"#), (#"a\b"#, #"a\\b"#),
      ("\u{9b}31m", #"\302\23331m"#), ("txt\u{202e}exe", #"txt\342\200\256exe"#),
      ("\u{2028}\u{feff}", #"\342\200\250\357\273\277"#),
      ("", ""),
    ])
  func escaped(_ text: String, _ shown: String) {
    #expect(TerminalText.escape(text) == shown)
  }

  @Test("bytes that are no UTF-8 are told")
  func bytes() {
    #expect(TerminalText.escape([0x61, 0xff, 0xc3, 0x28, 0xe2, 0x82]) == #"a\377\303(\342\202"#)
    #expect(TerminalText.escape([0xc3, 0xbc, 0xed, 0xb2, 0x80]) == #"ü\355\262\200"#)
    #expect(FilePath(bytes: [0x2f, 0xff]).escaped == #"/\377"#)
  }

  @Test("each byte string has a text of its own")
  func unambiguous() {
    let names: [[UInt8]] = [[0x0a], Array(#"\n"#.utf8), Array(#"\\n"#.utf8), [0x5c, 0x0a], Array(#"\012"#.utf8)]
    #expect(Set(names.map { TerminalText.escape($0) }).count == names.count)
  }

  @Test("a message keeps what was escaped before")
  func message() {
    let message = "cannot read \(TerminalText.escape("a\n\\b")): no"
    #expect(TerminalText.sanitize(message) == message)
    #expect(TerminalText.sanitize("one\ntwo\u{1b}", keepingNewlines: true) == "one\ntwo\\033")
    #expect(TerminalText.sanitize("one\ntwo") == #"one\ntwo"#)
  }

  @Test("errors show paths that do no harm")
  func errors() {
    let error = SpoolFSError(.notFound, operation: "open", path: FilePath(bytes: [0x1b, 0xff]), message: "no")
    #expect(error.description == #"cannot open \033\377: no"#)
  }

  @Test("strings of JSON hold nothing that a terminal obeys, and stay what they are")
  func json() {
    #expect(JSONText.quote(Array("a\u{9b}\u{202e}ü".utf8)) == #""a\u009b\u202eü""#)
    #expect(JSONText.printable("{\"a\":\"\u{202e}\u{e0001}\"}") == #"{"a":"\u202e\udb40\udc01"}"#)
  }
}
