import Foundation
package import SystemPackage

/// A filesystem that refuses, forgets or holds what is written to it, when a test says so: `FaultyDiskServer`, a process of its
/// own. The kernel writes back to it, so errors come late. Mounting takes root.
package final class FaultyDisk: Sendable {
  /// What happens to what the kernel writes there.
  package enum Order: Sendable {
    case take
    case refuse(Errno)
    /// One WRITE of so many is refused, at random.
    case refuseSome(Errno, of: Int)
    /// It is taken, and is zeros; the file's next fsync(2) tells.
    case forget(Errno)
    /// It waits until the next order.
    case hold

    fileprivate var line: String {
      switch self {
      case .take: "take"
      case .refuse(let error): "refuse \(error.rawValue)"
      case .refuseSome(let error, let odds): "some \(error.rawValue) \(odds)"
      case .forget(let error): "forget \(error.rawValue)"
      case .hold: "hold"
      }
    }
  }

  package let path: FilePath
  private let place: String
  private let server = Process()
  private let (input, output) = (Pipe(), Pipe())

  package init() throws {
    var template = Array("/var/tmp/faulty-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw Errno(rawValue: errno) }
    place = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    path = FilePath(place)
    server.executableURL = URL(fileURLWithPath: CommandLine.arguments[0]).deletingLastPathComponent()
      .appendingPathComponent("FaultyDiskServer")
    server.arguments = [place]
    server.standardInput = input
    server.standardOutput = output
    do {
      try server.run()
      guard output.fileHandleForReading.availableData.starts(with: "mounted".utf8) else { throw Errno.ioError }
    } catch {
      rmdir(place)
      throw error
    }
    var status = stat()
    guard stat(place, &status) == 0 else { return }
    // The kernel slows those down that write to a filesystem of whose writes none succeed.
    let device = "/sys/class/bdi/\(status.st_dev >> 8 & 0xfff):\(status.st_dev & 0xff | status.st_dev >> 12 & 0xfff00)"
    for (name, value) in [("strict_limit", "0"), ("max_ratio", "100")] {
      try? value.write(toFile: device + "/" + name, atomically: false, encoding: .utf8)
    }
  }

  deinit { end() }

  /// Returns when it is in force.
  package func order(_ order: Order) {
    input.fileHandleForWriting.write(Data((order.line + "\n").utf8))
    _ = output.fileHandleForReading.availableData
  }

  /// Whoever still has files there gets ENOTCONN.
  package func end() {
    try? input.fileHandleForWriting.close()
    server.waitUntilExit()
    umount2(place, Int32(MNT_DETACH))
    rmdir(place)
  }
}
