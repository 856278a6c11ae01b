internal import Glibc
internal import SystemPackage

/// Where programs are found.
enum ExecutableSearch {
  /// The directories of PATH; an empty item is the working directory.
  static func directories() -> [FilePath] {
    guard let value = getenv("PATH") else { return ["/bin", "/usr/bin"] }
    let bytes = UnsafeRawBufferPointer(start: value, count: strlen(value))
    return bytes.split(separator: UInt8(ascii: ":"), omittingEmptySubsequences: false).map {
      $0.isEmpty ? "." : path(Array($0))
    }
  }

  /// The file that execvp(3) would run for `name`.
  static func find(_ name: FilePath) -> FilePath? {
    if name.isAbsolute || name.components.count > 1 { return name }
    return directories().lazy.map { $0.pushing(name) }.first(where: isExecutable)
  }

  static func isExecutable(_ file: FilePath) -> Bool {
    var status = stat()
    return file.withPlatformString { stat($0, &status) == 0 && access($0, X_OK) == 0 }
      && status.st_mode & S_IFMT == S_IFREG
  }
}
