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
    // Past the largest offset there is no file, and pread(2) would complain.
    let wanted = Int(min(Int64(buffer.count), .max - offset))
    var done = 0
    while done < wanted {
      let count = try retryingInterrupts {
        pread(file, buffer.baseAddress! + done, wanted - done, off_t(offset) + done)
      }
      if count == 0 { break }
      done += count
    }
    return done
  }

  /// At the descriptor's own offset, which is where it was when only a part could be written.
  static func write(_ file: CInt, _ bytes: UnsafeRawBufferPointer) throws(Errno) {
    var done = 0
    do throws(Errno) {
      while done < bytes.count {
        done += try accepted { Glibc.write(file, bytes.baseAddress! + done, bytes.count - done) }
      }
    } catch {
      if done > 0 { lseek(file, off_t(-done), SEEK_CUR) }
      throw error
    }
  }

  static func write(_ file: CInt, _ bytes: UnsafeRawBufferPointer, at offset: Int64) throws(Errno) {
    var done = 0
    while done < bytes.count {
      done += try writeSome(file, UnsafeRawBufferPointer(rebasing: bytes[done...]), at: offset + Int64(done))
    }
  }

  /// Writes at least one byte of a buffer that is not empty, and returns how many.
  static func writeSome(_ file: CInt, _ bytes: UnsafeRawBufferPointer, at offset: Int64) throws(Errno) -> Int {
    try accepted { pwrite(file, bytes.baseAddress!, bytes.count, off_t(offset)) }
  }

  /// What a write took. Nothing is not specified for regular files, and trying again would never end.
  private static func accepted(_ write: () -> Int) throws(Errno) -> Int {
    let count = try retryingInterrupts(write)
    if count == 0 { throw .ioError }
    return count
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
