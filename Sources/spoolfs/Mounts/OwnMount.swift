internal import Glibc
internal import SpoolFS
internal import SystemPackage

extension MountEntry {
  /// Whether it is a mount of this program's, whichever process serves it.
  var isSpoolFS: Bool { type == "fuse." + MountOptions.subtype }

  /// The user who mounted it, if it is a FUSE filesystem.
  var owner: UInt32? {
    let option = filesystemOptions.split(separator: ",").first { $0.hasPrefix("user_id=") }
    return option.flatMap { UInt32($0.dropFirst("user_id=".count)) }
  }

  /// The device's numbers as mountinfo writes them.
  var device: String { "\(major):\(minor)" }

  /// Whether it is of the same filesystem.
  func isSameDevice(as other: MountEntry) -> Bool { (major, minor) == (other.major, other.minor) }
}

/// A mount of ours that a user names.
enum OwnMount {
  /// The mount at `directory`.
  ///
  /// - Throws: a usage error if nothing, or another filesystem, is mounted there.
  static func at(_ directory: FilePath) throws -> MountEntry {
    let path = try MountDirectory.resolve(directory)
    guard let mount = try MountTable.top(at: path) else {
      throw CommandFailure(.usage, "\(path.escaped) is not a mount point")
    }
    guard mount.isSpoolFS else {
      throw CommandFailure(
        .usage, "\(path.escaped) is not a spoolfs mount but \(TerminalText.escape(mount.type))")
    }
    return mount
  }
}

/// The path that these bytes are, whatever their encoding.
func path(_ bytes: some Sequence<UInt8>) -> FilePath {
  let characters = bytes.map(CChar.init(bitPattern:)) + [0]
  return characters.withUnsafeBufferPointer { FilePath(platformString: $0.baseAddress!) }
}

/// The whole of a small file, such as one in /proc.
func readFile(_ path: FilePath) throws -> [UInt8] {
  try FileDescriptor.open(path, .readOnly, options: .closeOnExec).closeAfterReading()
}

extension FileDescriptor {
  fileprivate func closeAfterReading() throws -> [UInt8] { try closeAfter { try readToEnd() } }
}
