internal import CSpoolSystem
internal import Glibc
import SpoolStorage
internal import SystemPackage

/// The thread that made a request, seen through /proc. It needs the right to trace it: root's, or of the same user.
struct CallerProcess {
  let thread: UInt32

  /// How often a thread that has not gone to sleep yet is looked at again, and after how many microseconds.
  private static let attempts = 40
  private static let pause: UInt32 = 25

  /// What the system call that it sleeps in writes.
  var intent: CallerIntent {
    if thread == 0 { return .unknown }
    for _ in 0..<Self.attempts {
      let intent = intentNow
      if intent != .running { return intent }
      usleep(Self.pause)
    }
    return .unknown
  }

  /// The same without waiting for it to go to sleep.
  var intentNow: CallerIntent {
    thread == 0 ? .unknown : ProcessFile.read("/proc/\(thread)/syscall") { CallerIntent($0) } ?? .unknown
  }

  func descriptor(_ number: Int32) -> CallerDescriptor? {
    ProcessFile.read("/proc/\(thread)/fdinfo/\(number)") { CallerDescriptor($0) }
  }

  /// Whether it has the file open for writing; true where nobody says.
  func mayWrite(to inode: UInt64) -> Bool {
    guard thread != 0, let list = opendir("/proc/\(thread)/fdinfo") else { return true }
    defer { closedir(list) }
    while let entry = readdir(list) {
      let name = withUnsafeBytes(of: &entry.pointee.d_name) { $0.number(at: 0) }
      guard let name, let found = descriptor(Int32(truncatingIfNeeded: name)) else { continue }
      if found.inode == 0 || found.inode == inode && found.writes { return true }
    }
    return false
  }

  /// Bytes that an `iovec` list of its memory describes; nil where it cannot be read.
  ///
  /// Waits for the lock of its address space, so it is not for a thread that requests wait for.
  func size(ofVector address: UInt64, parts: Int) -> Int64? {
    guard (0...1024).contains(parts) else { return nil }
    if parts == 0 { return 0 }
    let list = [iovec](unsafeUninitializedCapacity: parts) { buffer, count in
      let size = parts * MemoryLayout<iovec>.stride
      count = spool_read_memory(pid_t(bitPattern: thread), buffer.baseAddress, address, size) == size ? parts : 0
    }
    if list.isEmpty { return nil }
    return list.reduce(0) { sum, part in
      let (sum, overflows) = sum.addingReportingOverflow(Int64(clamping: part.iov_len))
      return overflows ? .max : sum
    }
  }
}
