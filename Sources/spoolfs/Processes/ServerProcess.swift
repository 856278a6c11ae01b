internal import CSpoolSystem
internal import Glibc
internal import SpoolFS
internal import SystemPackage

/// The process that serves a mount, held by a descriptor so that another one with the same number is not taken for it.
struct ServerProcess {
  private let descriptor: FileDescriptor

  /// Nil: it is dead, or belongs to somebody else.
  ///
  /// It is found by its open /dev/fuse, whose description in /proc names the connection: the minor number of the
  /// mount's device.
  init?(of mount: MountEntry) {
    for name in directoryEntries("/proc") {
      guard let process = Int32(name), process != getpid(), Self.serves(name, mount.minor) else { continue }
      let descriptor = spool_pidfd_open(process)
      guard descriptor >= 0 else { continue }
      self.descriptor = FileDescriptor(rawValue: descriptor)
      return
    }
    return nil
  }

  func waitUntilEnded() {
    var event = pollfd(fd: descriptor.rawValue, events: Int16(POLLIN), revents: 0)
    while poll(&event, 1, -1) < 0, errno == EINTR {}
    try? descriptor.close()
  }

  private static func serves(_ process: String, _ connection: Int) -> Bool {
    let directory = FilePath("/proc").appending(process)
    return directoryEntries(directory.appending("fd")).contains { name in
      guard let target = readLink(directory.appending("fd").appending(name)), target.elementsEqual("/dev/fuse".utf8),
        let text = try? readFile(directory.appending("fdinfo").appending(name))
      else { return false }
      return text.split(separator: 10).contains { line in
        let parts = line.split { $0 == 9 || $0 == 32 }
        return parts.count == 2 && parts[0].elementsEqual("fuse_connection:".utf8)
          && Int(String(decoding: parts[1], as: UTF8.self)) == connection
      }
    }
  }
}
