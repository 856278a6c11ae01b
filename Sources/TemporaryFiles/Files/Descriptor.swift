internal import CSpoolSystem
internal import Glibc
internal import SpoolStorage
internal import SystemPackage

// System calls on a descriptor, in the shape that channels need: whole buffers, interrupted calls repeated.
enum Descriptor {
  /// From the descriptor's own offset on.
  static func read(_ file: CInt, into buffer: UnsafeMutableRawBufferPointer) throws(Errno) -> Int {
    var done = 0
    while done < buffer.count {
      let count = try retryingInterrupts { Glibc.read(file, buffer.baseAddress! + done, buffer.count - done) }
      if count == 0 { break }
      done += count
    }
    return done
  }

  static func read(_ file: CInt, into buffer: UnsafeMutableRawBufferPointer, at offset: Int64) throws(Errno) -> Int {
    var done = 0
    while done < buffer.count {
      let count = try retryingInterrupts {
        pread(file, buffer.baseAddress! + done, buffer.count - done, off_t(offset) + done)
      }
      if count == 0 { break }
      done += count
    }
    return done
  }

  /// At the descriptor's own offset.
  static func write(_ file: CInt, _ bytes: UnsafeRawBufferPointer) throws(Errno) {
    var done = 0
    while done < bytes.count {
      done += try retryingInterrupts { Glibc.write(file, bytes.baseAddress! + done, bytes.count - done) }
    }
  }

  /// Calls `progress` with the bytes written each time some are.
  static func write(
    _ file: CInt, _ bytes: UnsafeRawBufferPointer, at offset: Int64, progress: (Int) -> Void = { _ in }
  ) throws(Errno) {
    var done = 0
    while done < bytes.count {
      let count = try retryingInterrupts {
        pwrite(file, bytes.baseAddress! + done, bytes.count - done, off_t(offset) + done)
      }
      done += count
      progress(count)
    }
  }

  static func status(_ file: CInt) throws(Errno) -> stat {
    var status = stat()
    try retryingInterrupts { fstat(file, &status) }
    return status
  }

  static func offset(_ file: CInt) throws(Errno) -> Int64 {
    Int64(try retryingInterrupts { lseek(file, 0, SEEK_CUR) })
  }

  static func seek(_ file: CInt, to offset: Int64) throws(Errno) {
    try retryingInterrupts { lseek(file, off_t(offset), SEEK_SET) }
  }

  static func resize(_ file: CInt, to size: Int64) throws(Errno) {
    try retryingInterrupts { ftruncate(file, off_t(size)) }
  }

  /// close(2), which frees the descriptor whatever it answers.
  static func close(_ file: CInt) throws(Errno) {
    if Glibc.close(file) != 0 {
      let error = currentErrno()
      if error != .interrupted { throw error }
    }
  }
}
