import Glibc
import SystemPackage
import Testing

/// A filesystem of a few pages, for tests of full disks. It is mounted where it is only as long as it takes to open it:
/// no mount stays behind, whatever comes. Mounting takes root.
final class SmallDisk {
  /// A path through a descriptor, since the mount has no other any more.
  let path: FilePath
  private let root: CInt

  /// - Parameters:
  ///   - size: as the tmpfs option.
  ///   - options: others of the tmpfs.
  init(size: String, readOnly: Bool = false) throws {
    var template = Array("/var/tmp/disk-XXXXXX".utf8CString)
    try #require(mkdtemp(&template) != nil)
    let place = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    defer { rmdir(place) }
    let mounted = mount("tmpfs", place, "tmpfs", readOnly ? UInt(MS_RDONLY) : 0, "size=\(size)")
    try #require(mounted == 0, "cannot mount a tmpfs")
    root = open(place, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    #expect(umount2(place, Int32(MNT_DETACH)) == 0)
    path = FilePath("/proc/self/fd/\(root)")
  }

  deinit { close(root) }

  private var ballast: FilePath { path.appending("ballast") }

  /// Takes all its space.
  func fill() {
    let file = open(ballast.string, O_WRONLY | O_CREAT, 0o600)
    let bytes = [UInt8](repeating: 1, count: 4096)
    while write(file, bytes, bytes.count) > 0 {}
    close(file)
  }

  func empty() { unlink(ballast.string) }

  /// The names in it.
  var names: [String] { entries(of: path) ?? ["no directory"] }
}
