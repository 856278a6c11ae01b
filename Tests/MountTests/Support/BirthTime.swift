import CSpoolSystem
import Foundation
import SystemPackage

/// statx(2): when a file was made, in nanoseconds since 1970; nil where its filesystem does not tell.
///
/// - Parameter path: empty for what `directory` is open on.
func birthTime(of path: String, at directory: Int32 = AT_FDCWD) throws(Errno) -> Int64? {
  var identity = spool_identity()
  if spool_identify(directory, path, &identity) != 0 { throw Errno(rawValue: errno) }
  return identity.birth < 0 ? nil : identity.birth
}

/// Whether the kernel asks FUSE filesystems for it, as Linux 6.6 and later do.
let asksForBirthTimes: Bool = {
  var name = utsname()
  uname(&name)
  let release = withUnsafeBytes(of: &name.release) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
  let numbers = release.split { !$0.isNumber }.prefix(2).compactMap { Int($0) }
  return numbers.count == 2 && (numbers[0], numbers[1]) >= (6, 6)
}()
