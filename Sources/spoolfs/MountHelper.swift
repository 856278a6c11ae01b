internal import Glibc

/// `mount -t spoolfs`, fstab(5) and systemd mount units run a program named `mount.spoolfs`. Under that name (a symbolic
/// link) this program understands their command line.
enum MountHelper {
  /// `mount.spoolfs SOURCE DIR [-sfnv] [-N NAMESPACE] [-o LIST]` as a command line of `spoolfs mount`. Nil: the program has
  /// another name.
  static func commandLine(of arguments: [UnsafePointer<CChar>]) -> [UnsafePointer<CChar>]? {
    guard let name = arguments.first.map({ String(cString: $0) })?.split(separator: "/").last,
      name == "mount.spoolfs" || name == "mount.fuse.spoolfs"
    else { return nil }
    return commandLine(arguments: arguments.dropFirst(), isPrivileged: geteuid() == 0)
  }

  static func commandLine(
    arguments: ArraySlice<UnsafePointer<CChar>>, isPrivileged: Bool
  ) -> [UnsafePointer<CChar>] {
    var result = [literal("spoolfs"), literal("mount")]
    // mount(8) leaves its own defaults out of the list, `suid` and `dev` among them: what the list does not deny is
    // allowed. Other users than root get neither.
    if isPrivileged { result += [literal("-o"), literal("suid,dev")] }
    var operands: [UnsafePointer<CChar>] = []
    var rest = arguments
    while let argument = rest.popFirst() {
      let text = String(cString: argument)
      switch text {
      case "-o", "-t", "-N":
        guard let value = rest.popFirst() else { return result + [argument] }
        if text == "-o" { result += [argument, value] }
        if text == "-N" { result += [literal("--namespace"), value] }
      case _ where text.count > 1 && text.first == "-" && text.dropFirst().allSatisfy({ "sfnv".contains($0) }):
        // Not in the mount table and verbose mean nothing here: mount(8) hands its own flags on.
        if text.contains("f") { result.append(literal("--fake")) }
        if text.contains("s") { result.append(literal("--sloppy")) }
      default: operands.append(argument)
      }
    }
    // The source means nothing to a filesystem that starts empty.
    return result + [literal("--")] + operands.dropFirst()
  }

  private static func literal(_ text: String) -> UnsafePointer<CChar> { UnsafePointer(strdup(text)!) }
}
