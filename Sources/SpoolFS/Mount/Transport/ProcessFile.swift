internal import CSpoolSystem
internal import Glibc

/// Small files of /proc.
enum ProcessFile {
  private static let capacity = 1024

  /// - Returns: what `body` makes of the file's beginning; nil where it cannot be read.
  static func read<Result>(_ path: String, _ body: (UnsafeRawBufferPointer) -> Result?) -> Result? {
    let file = spool_openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0)
    if file < 0 { return nil }
    defer { close(file) }
    return read(file, body)
  }

  /// The supplementary groups of a process or thread; nil where they cannot be read.
  static func supplementaryGroups(of process: Int32) -> [UInt32]? {
    read("/proc/\(process)/status") { bytes in
      let lines = bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
      // What follows the last newline was cut off.
      guard let line = lines.dropLast().first(where: { $0.starts(with: "Groups:".utf8) }) else { return nil }
      return line.dropFirst("Groups:".utf8.count).split { $0 == UInt8(ascii: " ") || $0 == UInt8(ascii: "\t") }
        .compactMap { UInt32(String(decoding: $0, as: UTF8.self)) }
    }
  }

  /// The same of a file that is open.
  static func read<Result>(_ file: Int32, _ body: (UnsafeRawBufferPointer) -> Result?) -> Result? {
    withUnsafeTemporaryAllocation(byteCount: capacity, alignment: 1) { buffer in
      let count = pread(file, buffer.baseAddress, buffer.count, 0)
      return count > 0 ? body(UnsafeRawBufferPointer(rebasing: buffer[..<count])) : nil
    }
  }
}

extension UnsafeRawBufferPointer {
  /// The decimal number that begins at `start`; nil where there is none.
  func number(at start: Int) -> Int? {
    var value: Int?
    var index = start
    while index < count, case let digit = Int(self[index]) - 48, (0...9).contains(digit) {
      value = (value ?? 0) &* 10 &+ digit
      index += 1
    }
    return value
  }

  /// Where the field after `count` spaces begins, counted from `start`.
  func field(after spaces: Int, from start: Int) -> Int? {
    var left = spaces
    var index = start
    while index < count {
      if self[index] == UInt8(ascii: " ") {
        left -= 1
        if left == 0 { return index + 1 }
      }
      index += 1
    }
    return nil
  }
}
