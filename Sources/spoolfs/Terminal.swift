internal import Glibc
internal import SpoolFS
internal import SystemPackage

/// What the command tells its user besides its results.
enum Terminal {
  /// One line on stderr. Values of others in it are escaped (`TerminalText`); what was forgotten cannot do harm.
  static func note(_ text: String) { writeError("spoolfs: \(TerminalText.sanitize(text))\n") }

  /// In one write, so that lines of several processes do not mix. If it fails there is nobody to tell.
  static func writeError(_ text: String) {
    var text = text
    text.withUTF8 { _ = write(STDERR_FILENO, $0.baseAddress, $0.count) }
  }

  /// Puts /dev/null where stdin, stdout or stderr are closed, for this process alone: a file that got one of their
  /// numbers would be written to by mistake.
  static func fillStandardDescriptors() {
    while true {
      guard let descriptor = try? Spawn.openNull() else { return }
      if descriptor.rawValue > STDERR_FILENO {
        try? descriptor.close()
        return
      }
    }
  }
}
