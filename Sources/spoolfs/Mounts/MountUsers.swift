internal import Glibc
internal import SpoolFS
internal import SystemPackage

/// A process that uses something in a mount.
struct MountUser: Equatable, Sendable {
  var process: Int32
  /// Its command's name, escaped.
  var command: String
}

extension MountUser: CustomStringConvertible {
  var description: String { "\(process) (\(command))" }
}

/// Who uses a mount, found out from the texts of /proc alone: a look into the mount itself would wait for its server.
///
/// Only processes that the caller may look at are found: its own, and for root all.
struct MountUsers {
  private let mount: MountEntry
  private let prefix: [UInt8]
  private let excluded: [pid_t]

  /// - Parameter excluded: these are no users.
  init(of mount: MountEntry, except excluded: [pid_t] = [getpid()]) {
    self.mount = mount
    self.excluded = excluded
    prefix = mount.path.bytes
  }

  /// Users but the excluded processes. Those that have nothing but a mapping are only looked for where there are no others:
  /// to read the mappings of all processes is slow, and waits for those that wait for their own memory.
  ///
  /// - Complexity: O(descriptors and mappings of all processes).
  func find() -> [MountUser] {
    let users = find(where: uses)
    return users.isEmpty ? find(where: maps) : users
  }

  private func find(where isUser: (_ process: FilePath) -> Bool) -> [MountUser] {
    directoryEntries("/proc").compactMap { name in
      guard let process = Int32(name), !excluded.contains(process) else { return nil }
      let directory = FilePath("/proc").appending(name)
      guard isUser(directory) else { return nil }
      return MountUser(process: process, command: commandName(of: process))
    }
  }

  private func uses(_ process: FilePath) -> Bool {
    for link in ["cwd", "root", "exe"] where isInside(process.appending(link)) { return true }
    return directoryEntries(process.appending("fd")).contains { name in
      isInside(process.appending("fd").appending(name), description: process.appending("fdinfo").appending(name))
    }
  }

  /// Whether the link shows a path in the mount, and, for a descriptor, whether it is of this mount and not of another
  /// one at the same path.
  private func isInside(_ link: FilePath, description: FilePath? = nil) -> Bool {
    guard leads(link, to: prefix) else { return false }
    guard let description, let text = try? readFile(description) else { return true }
    let line = text.split(separator: 10).first { $0.starts(with: "mnt_id:".utf8) }
    let id = line.flatMap { Int(String(decoding: $0.filter { (0x30...0x39).contains($0) }, as: UTF8.self)) }
    return id == nil || id == mount.id
  }

  /// Whether the process maps a file of the mount's device.
  private func maps(_ process: FilePath) -> Bool {
    guard let text = try? readFile(process.appending("maps")) else { return false }
    return text.split(separator: 10).contains { line in
      let fields = line.split(separator: UInt8(ascii: " "), maxSplits: 4)
      guard fields.count > 3 else { return false }
      let device = fields[3].split(separator: UInt8(ascii: ":")).compactMap {
        Int(String(decoding: $0, as: UTF8.self), radix: 16)
      }
      return device == [mount.major, mount.minor]
    }
  }
}

/// The name of a process's command, escaped. It may contain anything, newlines too.
func commandName(of process: pid_t) -> String {
  let name = (try? readFile(FilePath("/proc/\(process)/comm"))) ?? Array("?".utf8)
  return TerminalText.escape(name.last == 10 ? name.dropLast() : name[...])
}

/// The names in a directory without "." and ".."; none if it cannot be read.
func directoryEntries(_ directory: FilePath) -> [String] {
  guard let stream = directory.withPlatformString({ opendir($0) }) else { return [] }
  defer { closedir(stream) }
  var names: [String] = []
  while let entry = readdir(stream) {
    let name = withUnsafePointer(to: &entry.pointee.d_name) {
      $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
    }
    if name != ".", name != ".." { names.append(name) }
  }
  return names
}

/// Whether a link of /proc shows a path or something below it, perhaps followed by " (deleted)".
func leads(_ link: FilePath, to path: [UInt8]) -> Bool {
  guard let target = readLink(link), target.starts(with: path) else { return false }
  let next = target.dropFirst(path.count).first
  return next == nil || next == UInt8(ascii: "/") || next == UInt8(ascii: " ")
}

/// What a symbolic link says, without following it.
func readLink(_ link: FilePath) -> [UInt8]? {
  var buffer = [UInt8](repeating: 0, count: Int(PATH_MAX))
  let count = buffer.withUnsafeMutableBytes { bytes in
    link.withPlatformString { readlink($0, bytes.baseAddress!.assumingMemoryBound(to: CChar.self), bytes.count) }
  }
  return count < 0 ? nil : Array(buffer[..<count])
}
