import Foundation
package import SystemPackage

/// A filesystem on an image that promises more than there is: a sparse file on a small tmpfs. What is written finds no space only
/// when the kernel brings it there. Mounting takes root.
///
/// It is mounted where it is only as long as it takes to open it, unless it must have a path: no mount stays behind, whatever
/// comes, and the loop device goes with the last file that is open.
package final class SparseImage {
  /// A path through a descriptor of this process, unless it was to have one of its own.
  package let path: FilePath
  private let root: CInt
  private let mountPoint: String?

  /// - Parameters:
  ///   - type: ext4, ext2.
  ///   - size: of the image, in MiB.
  ///   - space: what there is, in MiB.
  ///   - hasPath: whether other processes are to find it.
  package init(_ type: String, size: Int, space: Int, hasPath: Bool = false) throws {
    var template = Array("/var/tmp/image-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw Errno(rawValue: errno) }
    let place = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    let journal = type == "ext4" ? "-J size=4 -E lazy_itable_init=1,lazy_journal_init=1" : ""
    // mount(8) makes a loop device that ends with its last user.
    let script = """
      set -e
      mount -t tmpfs -o size=\(space)m none "$1"
      trap 'umount -l "$1"' EXIT
      truncate -s \(size)M "$1/image"
      mke2fs -q -F -t \(type) -b 4096 -m 0 \(journal) "$1/image"
      mkdir "$1/root"
      mount -o loop "$1/image" "$1/root"
      # The driver takes a write of which the tmpfs took a part for a whole one. It takes a page, or none of it.
      echo 4 > "/sys/block/$(basename "$(findmnt -no SOURCE "$1/root")")/queue/max_sectors_kb"
      chmod 700 "$1/root"
      trap - EXIT
      """
    guard Self.run(["sh", "-c", script, "sh", place]) else {
      rmdir(place)
      throw Errno.ioError
    }
    root = open(place + "/root", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    path = hasPath ? FilePath(place + "/root") : FilePath("/proc/self/fd/\(root)")
    mountPoint = hasPath ? place : nil
    if !hasPath { Self.detach(place) }
  }

  deinit {
    close(root)
    if let mountPoint { Self.detach(mountPoint) }
  }

  private static func detach(_ place: String) {
    umount2(place + "/root", Int32(MNT_DETACH))
    umount2(place, Int32(MNT_DETACH))
    rmdir(place)
  }

  private static func run(_ command: [String]) -> Bool {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = command
    do { try process.run() } catch { return false }
    process.waitUntilExit()
    return process.terminationStatus == 0
  }
}
