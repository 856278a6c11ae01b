internal import CSpoolSystem
internal import Glibc
import SpoolStorage

/// Who made a file, for the status listing.
struct Creator: Sendable {
  var process: Int32
  /// Index into `CommandNames`.
  var command: UInt32

  static let unknown = Creator(process: 0, command: 0)
}

/// The command names of the processes that make files (`/proc/PID/comm`), each kept once.
///
/// Reading one costs three system calls, so the answer for a process is believed for a tenth of a second: long enough for
/// a program that makes thousands of files, short enough for a process that goes on as another program.
final class CommandNames: @unchecked Sendable {
  // @unchecked: `lock` protects every variable.

  private struct Recent {
    let command: UInt32
    let nanoseconds: Int
  }

  private static let believedFor = 100_000_000
  private static let maximumRecent = 1024
  /// Names are kept for as long as the tree: processes that rename themselves again and again must not fill memory.
  private static let maximumNames = 4096

  private let lock = Lock()
  @exclusivity(unchecked) private var names: [String] = [""]
  @exclusivity(unchecked) private var numbers: [String: UInt32] = ["": 0]
  @exclusivity(unchecked) private var recent: [Int32: Recent] = [:]
  /// Who made a file last: most often it makes the next one too.
  @exclusivity(unchecked) private var last: (process: Int32, recent: Recent) = (0, Recent(command: 0, nanoseconds: 0))

  func name(_ command: UInt32) -> String {
    lock.withLock { names[Int(command)] }
  }

  func creator(_ process: Int32) -> Creator {
    guard process > 0 else { return .unknown }
    let now = coarseNanoseconds()
    let known: UInt32? = lock.withLock {
      guard let entry = process == last.process ? last.recent : recent[process],
        now < entry.nanoseconds + Self.believedFor
      else { return nil }
      last = (process, entry)
      return entry.command
    }
    if let known { return Creator(process: process, command: known) }
    let name = Self.read(process)
    return lock.withLock {
      let command = number(of: name)
      if recent.count >= Self.maximumRecent { recent.removeAll(keepingCapacity: true) }
      last = (process, Recent(command: command, nanoseconds: now))
      recent[process] = last.recent
      return Creator(process: process, command: command)
    }
  }

  private func number(of name: String) -> UInt32 {
    if let number = numbers[name] { return number }
    guard names.count < Self.maximumNames else { return 0 }
    let number = UInt32(names.count)
    names.append(name)
    numbers[name] = number
    return number
  }

  /// The name in `/proc/PID/comm`, empty where the process has gone.
  private static func read(_ process: Int32) -> String {
    let file = spool_openat(AT_FDCWD, "/proc/\(process)/comm", O_RDONLY | O_CLOEXEC, 0)
    guard file >= 0 else { return "" }
    defer { close(file) }
    return withUnsafeTemporaryAllocation(byteCount: 64, alignment: 1) { buffer in
      let count = Glibc.read(file, buffer.baseAddress, buffer.count)
      let bytes = UnsafeRawBufferPointer(rebasing: buffer.prefix(max(0, count)))
      return String(decoding: bytes.prefix { $0 != UInt8(ascii: "\n") }, as: UTF8.self)
    }
  }
}
