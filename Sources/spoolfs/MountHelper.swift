internal import Glibc

/// `mount -t spoolfs`, fstab(5) and systemd mount units run a program named `mount.spoolfs`. Under that name (a symbolic
/// link) this program understands their command line.
enum MountHelper {
  /// `mount.spoolfs SOURCE DIR [-sfnv] [-o LIST]` as a command line of `spoolfs mount`. Nil: the program has another name.
  static func commandLine(of arguments: [UnsafePointer<CChar>]) -> [UnsafePointer<CChar>]? {
    guard let name = arguments.first.map({ String(cString: $0) })?.split(separator: "/").last,
      name == "mount.spoolfs" || name == "mount.fuse.spoolfs"
    else { return nil }
    var result = [literal("spoolfs"), literal("mount")]
    var operands: [UnsafePointer<CChar>] = []
    var rest = arguments.dropFirst()
    while let argument = rest.popFirst() {
      switch String(cString: argument) {
      // Sloppy, fake, no mtab, verbose: mount(8) hands its own flags on.
      case "-s", "-f", "-n", "-v": continue
      case "-o", "-t", "-N":
        guard let value = rest.popFirst() else { return result + [argument] }
        if argument[1] == CChar(bitPattern: UInt8(ascii: "o")) { result += [argument, value] }
      default: operands.append(argument)
      }
    }
    // The source means nothing to a filesystem that starts empty.
    return result + [literal("--")] + operands.dropFirst()
  }

  private static func literal(_ text: String) -> UnsafePointer<CChar> { UnsafePointer(strdup(text)!) }
}
