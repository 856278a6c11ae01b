internal import Glibc
internal import SystemPackage

/// The command line as bytes. ArgumentParser sees strings, in which what is not UTF-8 is already replaced; a path or a
/// program's argument must arrive unchanged.
enum CommandLineBytes {
  /// The program's name and its arguments; they live as long as the process.
  nonisolated(unsafe) static let arguments: [UnsafePointer<CChar>] = {  // Written once, never changed.
    let original = (0..<Int(CommandLine.argc)).compactMap { CommandLine.unsafeArgv[$0].map { UnsafePointer($0) } }
    return MountHelper.commandLine(of: original) ?? original
  }()

  /// What ArgumentParser is to parse.
  static var strings: [String] { arguments.dropFirst().map { String(cString: $0) } }

  /// The path that `argument` is on the command line.
  static func path(_ argument: String) -> FilePath {
    guard let bytes = arguments.dropFirst().first(where: { String(cString: $0) == argument }) else {
      return FilePath(argument)
    }
    return FilePath(platformString: bytes)
  }
}
