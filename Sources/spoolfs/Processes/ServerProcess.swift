internal import CSpoolSystem
internal import Glibc
internal import SystemPackage

/// The process that serves a mount, held by a descriptor so that another one with the same number is not taken for it.
struct ServerProcess {
  /// How long to wait for it at most, in milliseconds: it lives on when another mount namespace has a copy of the mount.
  private static let patience: Int32 = 5000

  private let descriptor: FileDescriptor

  /// The server of the mount at `mountPoint`: the parent of the guardian that was started for this mount point. Nil: both
  /// cannot be found.
  init?(of mountPoint: FilePath) {
    for name in directoryEntries("/proc") where Int32(name) != nil {
      let process = FilePath("/proc").appending(name)
      // The name first: to read the command line of a process that waits for its own memory would wait as well.
      guard let comm = try? readFile(process.appending("comm")), comm.elementsEqual("spoolfs\n".utf8),
        let words = (try? readFile(process.appending("cmdline")))?.split(separator: 0), words.count >= 3,
        words[1].elementsEqual(Guardian.argument.utf8), path(words[2]) == mountPoint,
        let server = Self.parent(of: process)
      else { continue }
      let descriptor = spool_pidfd_open(server)
      guard descriptor >= 0 else { continue }
      self.descriptor = FileDescriptor(rawValue: descriptor)
      return
    }
    return nil
  }

  /// Waits until it has ended, so that its memory and disk space are free.
  func waitUntilEnded() {
    var event = pollfd(fd: descriptor.rawValue, events: Int16(POLLIN), revents: 0)
    while poll(&event, 1, Self.patience) < 0, errno == EINTR {}
    try? descriptor.close()
  }

  /// The fourth field of stat; the second one, in parentheses, may contain anything.
  private static func parent(of process: FilePath) -> Int32? {
    guard let text = try? readFile(process.appending("stat")), let name = text.lastIndex(of: UInt8(ascii: ")"))
    else { return nil }
    let fields = text[(name + 1)...].split(separator: UInt8(ascii: " "))
    // An orphan's parent is init, or whoever adopts.
    guard fields.count > 1, let parent = Int32(String(decoding: fields[1], as: UTF8.self)), parent > 1 else {
      return nil
    }
    return parent
  }
}
