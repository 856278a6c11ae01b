import Glibc
package import SystemPackage

/// The names in a directory, sorted, repaired where they are no UTF-8; none where it cannot be listed.
package func names(in path: FilePath) -> [String] {
  guard let directory = path.withPlatformString({ opendir($0) }) else { return [] }
  defer { closedir(directory) }
  var names: [String] = []
  while let entry = readdir(directory) {
    let name = withUnsafePointer(to: &entry.pointee.d_name) {
      $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
    }
    if name != ".", name != ".." { names.append(name) }
  }
  return names.sorted()
}
