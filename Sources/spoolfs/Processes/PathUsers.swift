internal import Glibc
internal import SpoolFS
internal import SystemPackage

/// Which processes have a path that leads to nothing any more: they may use it again, whoever owns it by then.
///
/// Only processes that the caller may look at are found. Descriptors and mappings are not looked for: they lead to a file
/// whatever its path leads to, and the kernel shows those of a detached mount without the path.
enum PathUsers {
  /// Whether a process but this one works at `path` or below it, or has it in its environment or its arguments.
  ///
  /// May hang, at the last processes that it asks: the environment is read from a process's memory.
  static func exist(of path: FilePath) -> Bool {
    let own = String(getpid())
    let processes = directoryEntries("/proc").filter { Int32($0) != nil && $0 != own }.map(FilePath("/proc").appending)
    let bytes = path.bytes
    return processes.contains { leads($0.appending("cwd"), to: bytes) }
      || processes.contains { hasText(with: path, $0) }
  }

  private static func hasText(with path: FilePath, _ process: FilePath) -> Bool {
    ["environ", "cmdline"].contains { name in
      guard var text = try? readFile(process.appending(name)), !text.isEmpty else { return false }
      text.append(0)
      return text.withUnsafeBytes { contains($0, path) }
    }
  }

  /// Whether one of the strings, each of which ends with a NUL, contains the path.
  private static func contains(_ strings: UnsafeRawBufferPointer, _ path: FilePath) -> Bool {
    path.withPlatformString { path in
      var offset = 0
      while offset < strings.count {
        let string = strings.baseAddress!.advanced(by: offset).assumingMemoryBound(to: CChar.self)
        if strstr(string, path) != nil { return true }
        offset += strlen(string) + 1
      }
      return false
    }
  }
}
