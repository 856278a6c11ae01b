internal import Glibc
internal import SpoolFS
internal import SystemPackage

/// A small process that outlives this one and clears its mount away should it be killed.
///
/// It waits for the end of a pipe whose other end this process holds, so it learns of a death by SIGKILL as well. It has
/// a session of its own, so what is sent to the terminal's or the job's processes does not reach it.
struct Guardian {
  static let argument = "guard-mount"
  private static let goodbye = UInt8(ascii: "q")

  private let pipe: FileDescriptor
  private let process: pid_t

  /// Starts a guardian for a mount at `mountPoint`; `directory` is the private directory to be removed with it.
  init(of mountPoint: FilePath, directory: FilePath?) throws(CommandFailure) {
    do {
      let pipe = try Pipe()
      let null = try Spawn.openNull()
      defer { try? null.close() }
      let words: [FilePath] = ["spoolfs", FilePath(Self.argument), mountPoint] + (directory.map { [$0] } ?? [])
      process = try Spawn.itself(
        CStrings(words), descriptors: (0...2).map { (null.rawValue, $0) } + [(pipe.readEnd.rawValue, 3)])
      try? pipe.readEnd.close()
      self.pipe = pipe.writeEnd
    } catch {
      throw CommandFailure(.other, "cannot start the process that would clear up after us", error)
    }
  }

  /// Tells the guardian which filesystem is ours, by its device: should another one be mounted at the
  /// same place later, it is left alone.
  func watch(_ mount: MountEntry) {
    send(Array(Self.device(mount).utf8))
  }

  /// Sends the guardian away: everything is cleared up.
  func dismiss() {
    send([Self.goodbye])
    try? pipe.close()
    _ = WaitStatus.ofEnded(process)
  }

  private func send(_ bytes: [UInt8]) {
    // A guardian that was killed is no reason to fail: SIGPIPE is blocked and the error of no use.
    _ = try? pipe.writeAll(bytes)
  }

  /// The guardian's own life: waits on descriptor 3 until the other process is gone, then clears up unless that was done.
  static func keepWatch(over mountPoint: FilePath, directory: FilePath?) {
    let message = (try? FileDescriptor(rawValue: 3).readToEnd()) ?? []
    guard message.last != goodbye else { return }
    if let directory {
      PrivateDirectory.reclaim(directory, ownerIsEnding: true)
      return
    }
    guard let mount = try? MountTable.top(at: mountPoint), mount.isSpoolFS, message.elementsEqual(device(mount).utf8)
    else { return }
    try? MountPoint.unmount(mountPoint, lazily: true)
  }

  private static func device(_ mount: MountEntry) -> String { "\(mount.major):\(mount.minor)" }
}
