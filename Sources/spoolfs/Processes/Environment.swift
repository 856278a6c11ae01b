internal import Glibc
internal import SystemPackage

/// The environment of programs that we start.
enum Environment {
  /// Our own environment, byte by byte, with each of `names` set to `value`. Ours stays as it is: we must not use the
  /// tree that we serve.
  static func inherited(overriding names: [String], with value: FilePath) -> [UnsafePointer<CChar>] {
    var result: [UnsafePointer<CChar>] = []
    var index = 0
    while let variable = environ[index] {
      let name = String(cString: variable).prefix { $0 != "=" }
      if !names.contains(where: { $0 == name }) { result.append(UnsafePointer(variable)) }
      index += 1
    }
    return result + names.map { UnsafePointer(variable($0, value)) }
  }

  /// `NAME=value` on the heap, for as long as the process lives.
  private static func variable(_ name: String, _ value: FilePath) -> UnsafeMutablePointer<CChar> {
    value.withPlatformString { bytes in
      let result = UnsafeMutablePointer<CChar>.allocate(capacity: name.utf8.count + strlen(bytes) + 2)
      strcpy(stpcpy(stpcpy(result, name), "="), bytes)
      return result
    }
  }
}
