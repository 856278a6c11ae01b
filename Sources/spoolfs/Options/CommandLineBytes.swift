internal import CSpoolSystem
internal import Glibc
internal import SpoolFS
internal import SystemPackage

/// The command line as bytes. ArgumentParser sees strings; a path or a program's argument must arrive unchanged, even where it
/// is not UTF-8.
///
/// So a byte that is part of no UTF-8 becomes one of the last characters of Unicode's private use, and is that byte again when
/// the string becomes a path. Control characters do as well, so that messages of ArgumentParser's show where they are.
enum CommandLineBytes {
  /// The program's name and its arguments; they live as long as the process.
  nonisolated(unsafe) static let arguments: [UnsafePointer<CChar>] = {  // Written once, never changed.
    var original: [UnsafePointer<CChar>] = []
    while let argument = spool_argument(Int32(original.count)) { original.append(UnsafePointer(argument)) }
    return MountHelper.commandLine(of: original) ?? original
  }()

  /// What ArgumentParser is to parse.
  static var strings: [String] {
    arguments.dropFirst().map { string(UnsafeBufferPointer(start: $0, count: strlen($0))) }
  }

  /// U+10FF00 and the byte.
  private static let firstScalar: UInt32 = 0x10_ff00

  /// A string that `bytes` can be made of again.
  static func string(_ bytes: some Sequence<CChar>) -> String {
    var text = String.UnicodeScalarView()
    var rest = bytes.map(UInt8.init(bitPattern:))[...]
    while let byte = rest.first {
      var decoder = UTF8()
      var iterator = rest.prefix(4).makeIterator()
      // What stands for bytes is taken apart itself, so that it comes back as it was.
      if case .scalarValue(let scalar) = decoder.decode(&iterator), scalar.value < firstScalar, !isControl(scalar) {
        text.append(scalar)
        rest.removeFirst(UTF8.width(scalar))
      } else {
        text.append(Unicode.Scalar(firstScalar + UInt32(byte)) ?? "\u{fffd}")
        rest.removeFirst()
      }
    }
    return String(text)
  }

  private static func isControl(_ scalar: Unicode.Scalar) -> Bool { scalar.value < 0x20 || scalar.value == 0x7f }

  /// The bytes that `string` was made of.
  static func bytes(_ string: String) -> [UInt8] {
    string.unicodeScalars.flatMap { scalar in
      scalar.value < firstScalar ? Array(UTF8.encode(scalar)!) : [UInt8(truncatingIfNeeded: scalar.value)]
    }
  }

  /// The path that an argument, or a part of one, is on the command line.
  static func path(_ argument: String) -> FilePath { spoolfs.path(bytes(argument)) }

  /// An argument as it is shown to people.
  static func escaped(_ argument: String) -> String { TerminalText.escape(bytes(argument)) }

  /// A message of several lines, in which arguments may be as ArgumentParser saw them.
  static func shown(_ message: String) -> String {
    var result = ""
    var rest = message.unicodeScalars[...]
    while !rest.isEmpty {
      let text = rest.prefix { $0.value < firstScalar }
      result += TerminalText.sanitize(String(text), keepingNewlines: true)
      rest = rest[text.endIndex...]
      let argument = rest.prefix { $0.value >= firstScalar }
      result += escaped(String(argument))
      rest = rest[argument.endIndex...]
    }
    return result
  }
}
