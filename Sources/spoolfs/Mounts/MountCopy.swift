internal import Glibc
internal import SpoolFS
internal import SystemPackage

/// Another place at which a filesystem is mounted: by a bind mount, or in another mount namespace, which has a copy of all
/// that was mounted when it was made. Each keeps the server from ending.
struct MountCopy {
  private let path: FilePath
  /// A process of the mount namespace; nil: our own.
  private let process: pid_t?
  /// Its command's name, escaped.
  private let command: String

  /// Unique among the mounts of now.
  private let identifier: Int

  /// So many are looked for.
  private static let maximum = 16

  /// Those that the caller may see, `mount` itself among them.
  ///
  /// - Complexity: O(mounts of each process).
  static func all(of mount: MountEntry) -> [MountCopy] {
    var copies: [MountCopy] = []
    var namespaces = Set([readLink(FilePath("/proc/self/ns/mnt")) ?? []])
    add(&copies, of: mount, process: nil)
    for process in directoryEntries("/proc").compactMap({ pid_t($0) }) where copies.count < maximum {
      // The namespaces of other users' processes are not told, but what is mounted in them is.
      if let namespace = readLink(FilePath("/proc/\(process)/ns/mnt")), !namespaces.insert(namespace).inserted {
        continue
      }
      add(&copies, of: mount, process: process)
    }
    return copies
  }

  /// Those that are there still. Once the last one has gone, the device's number may belong to another filesystem.
  static func remaining(of copies: [MountCopy], of mount: MountEntry) -> [MountCopy] {
    let now = all(of: mount)
    return copies.filter { copy in now.contains { $0.identifier == copy.identifier && $0.path == copy.path } }
  }

  private static func add(_ copies: inout [MountCopy], of mount: MountEntry, process: pid_t?) {
    let entries = (try? MountTable.entries(ofProcess: process.map(String.init) ?? "self")) ?? []
    for entry in entries where entry.isSameDevice(as: mount) && entry.type == mount.type {
      // Processes whose namespace is not told may be of one.
      if process != nil, copies.contains(where: { $0.path == entry.path && $0.identifier == entry.id }) { continue }
      let command = process.map(commandName) ?? ""
      copies.append(MountCopy(path: entry.path, process: process, command: command, identifier: entry.id))
    }
  }
}

extension MountCopy: CustomStringConvertible {
  var description: String {
    guard let process else { return "it is mounted at \(path.escaped) as well" }
    return "it is mounted at \(path.escaped) in the mount namespace of process \(process) (\(command))"
  }
}
