internal import CSpoolSystem
internal import Glibc

/// Finds out which processor the caller of a request runs on, or ran on when it went to sleep.
struct CallerPlace: ~Copyable {
  /// Of the caller that was looked for last: most requests come from the same one for a while.
  private var file: Int32 = -1
  private var caller: UInt32 = 0

  deinit { if file >= 0 { close(file) } }

  /// - Parameter caller: the kernel's number of the thread, as requests bring it.
  /// - Returns: nil where it has gone, or /proc does not show it.
  mutating func processor(of caller: UInt32) -> Int32? {
    if caller != self.caller { open(caller) }
    if let found = read() { return found }
    // Its number may be somebody else's by now.
    open(caller)
    return read()
  }

  private mutating func open(_ caller: UInt32) {
    if file >= 0 { close(file) }
    self.caller = caller
    // Of the thread alone: in the process's own, the kernel adds up what all its threads have done.
    file = Self.withPath(of: caller) { spool_openat(AT_FDCWD, $0, O_RDONLY | O_CLOEXEC, 0) }
  }

  private func read() -> Int32? {
    if file < 0 { return nil }
    // Field 39. The second, a name in parentheses, may contain anything.
    return ProcessFile.read(file) { text in
      guard let name = text.lastIndex(of: UInt8(ascii: ")")), let start = text.field(after: 37, from: name),
        let number = text.number(at: start)
      else { return nil }
      return Int32(truncatingIfNeeded: number)
    }
  }

  /// Runs `body` with /proc/N/task/N/stat, made without a `String`: nothing is to be allocated for a request.
  private static func withPath(of caller: UInt32, _ body: (UnsafePointer<CChar>) -> Int32) -> Int32 {
    withUnsafeTemporaryAllocation(of: CChar.self, capacity: 48) { path in
      var length = 0
      func append(_ text: StaticString) {
        text.withUTF8Buffer { for byte in $0 { path[length] = CChar(bitPattern: byte); length += 1 } }
      }
      func appendCaller() {
        var divisor: UInt32 = 1
        while caller / divisor >= 10 { divisor *= 10 }
        while divisor > 0 {
          path[length] = CChar(48 + caller / divisor % 10)
          length += 1
          divisor /= 10
        }
      }
      append("/proc/")
      appendCaller()
      append("/task/")
      appendCaller()
      append("/stat")
      path[length] = 0
      return body(path.baseAddress!)
    }
  }
}
