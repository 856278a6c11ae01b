internal import CSpoolSystem
internal import Glibc
package import SystemPackage

/// A line of /proc/self/mountinfo (proc_pid_mountinfo(5)).
package struct MountEntry: Sendable {
  /// Unique among the mounts of now.
  package var id: Int
  package var parent: Int
  /// The device's numbers, as in /sys/class/bdi and `st_dev`: known without touching the mount.
  package var major: Int
  package var minor: Int
  /// Where it is mounted.
  package var path: FilePath
  /// Options of the mount: `rw,nosuid,nodev`.
  package var options: String
  /// `fuse.spoolfs`.
  package var type: String
  package var source: String
  /// Options of the filesystem: `rw,user_id=0,group_id=0`.
  package var filesystemOptions: String
}

/// What is mounted in this process's mount namespace.
package enum MountTable {
  /// All mounts, a mount after what it is mounted on.
  ///
  /// - Throws: what open(2) or read(2) of /proc/self/mountinfo fail with.
  package static func entries() throws(Errno) -> [MountEntry] { try entries(ofProcess: "self") }

  /// The same in the mount namespace of another process: its number in /proc.
  package static func entries(ofProcess process: String) throws(Errno) -> [MountEntry] {
    try read("/proc/\(process)/mountinfo").split(separator: UInt8(ascii: "\n")).compactMap { MountEntry(line: $0) }
  }

  /// The mounts of this program's filesystem.
  package static func spoolfsEntries() throws(Errno) -> [MountEntry] {
    try entries().filter { $0.type == "fuse." + MountOptions.subtype }
  }

  /// What is visible at `path`, an absolute path without symbolic links.
  package static func top(at path: FilePath) throws(Errno) -> MountEntry? {
    try entries().last { $0.path == path }
  }

  private static func read(_ path: String) throws(Errno) -> [UInt8] {
    let file = spool_openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0)
    if file < 0 { throw Errno(rawValue: errno) }
    defer { close(file) }
    var bytes: [UInt8] = []
    while true {
      var part = [UInt8](repeating: 0, count: 16384)
      let count = Glibc.read(file, &part, part.count)
      if count == 0 { return bytes }
      if count < 0 {
        if errno == EINTR { continue }
        throw Errno(rawValue: errno)
      }
      bytes += part[..<count]
    }
  }
}

extension MountEntry {
  /// `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`
  init?(line: ArraySlice<UInt8>) {
    // A source may be empty: `mount -t tmpfs "" DIR`.
    let fields = line.split(separator: UInt8(ascii: " "), omittingEmptySubsequences: false)
    guard fields.count >= 9, let dash = fields.dropFirst(6).firstIndex(where: { $0.elementsEqual("-".utf8) }),
      fields.count > dash + 3
    else { return nil }
    func text(_ index: Int) -> String { String(decoding: Self.unescape(fields[index]), as: UTF8.self) }
    let device = text(2).split(separator: ":").compactMap { Int($0) }
    guard let id = Int(text(0)), let parent = Int(text(1)), device.count == 2 else { return nil }
    self.init(
      id: id, parent: parent, major: device[0], minor: device[1], path: Self.path(fields[4]), options: text(5),
      type: text(dash + 1), source: text(dash + 2), filesystemOptions: text(dash + 3))
  }

  private static func path(_ field: ArraySlice<UInt8>) -> FilePath {
    // A path is bytes, which a String would change where they are not UTF-8.
    let bytes = unescape(field).map { CChar(bitPattern: $0) } + [0]
    return bytes.withUnsafeBufferPointer { FilePath(platformString: $0.baseAddress!) }
  }

  /// Blank, tab, newline and backslash are written as three octal digits.
  private static func unescape(_ field: ArraySlice<UInt8>) -> [UInt8] {
    var bytes: [UInt8] = []
    var rest = field
    while let byte = rest.popFirst() {
      if byte == UInt8(ascii: "\\"), let code = UInt8(String(decoding: rest.prefix(3), as: UTF8.self), radix: 8) {
        bytes.append(code)
        rest = rest.dropFirst(3)
      } else {
        bytes.append(byte)
      }
    }
    return bytes
  }
}
