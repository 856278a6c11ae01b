internal import CSpoolSystem
internal import Glibc
internal import SpoolStorage
internal import SystemPackage

/// Copies of whole files, holes included.
enum Copying {
  private static let step = 1 << 20

  /// Copies one open file to another, empty one: sharing the blocks where the filesystem can, else in the kernel where
  /// that can, else through memory. The corresponding C functions are `ioctl` with FICLONE and `copy_file_range`.
  static func copy(_ source: CInt, to target: CInt, isCancelled: () -> Bool) throws(Errno) {
    if spool_clone(source, target) == 0 { return }
    // An offset of its own, because finding the data moves it. Not to be had without /proc, or where the permissions are
    // against it: then the descriptor that there is will do, and holes are copied, too.
    let reader = spool_reopen(source, O_RDONLY)
    defer { if reader >= 0 { close(reader) } }
    let size = Int64(try Descriptor.status(source).st_size)
    try Descriptor.resize(target, to: size)
    var place: Int64 = 0
    while place < size {
      let (start, end) = reader < 0 ? (place, size) : try nextData(reader, from: place, size: size)
      try copy(start..<end, of: reader < 0 ? source : reader, to: target, isCancelled)
      place = max(end, place + 1)
    }
  }

  private static func nextData(_ file: CInt, from place: Int64, size: Int64) throws(Errno) -> (Int64, Int64) {
    do throws(Errno) {
      let start = try retryingInterrupts { lseek(file, off_t(place), SEEK_DATA) }
      return (Int64(start), Int64(try retryingInterrupts { lseek(file, start, SEEK_HOLE) }))
    } catch .noSuchAddressOrDevice {
      return (size, size)
    } catch .invalidArgument {
      return (place, size)  // a filesystem that cannot tell
    }
  }

  private static func copy(
    _ range: Range<Int64>, of source: CInt, to target: CInt, _ isCancelled: () -> Bool
  ) throws(Errno) {
    var place = range.lowerBound
    while place < range.upperBound {
      if isCancelled() { throw .canceled }
      let count = spool_copy_range(source, place, target, place, min(Int64(step), range.upperBound - place))
      if count <= 0 { break }
      place += count
    }
    if place == range.upperBound { return }
    try copyThroughMemory(place..<range.upperBound, to: target, isCancelled) { (buffer, offset) throws(Errno) in
      try Descriptor.read(source, into: buffer, at: offset)
    }
  }

  /// Copies bytes that are in memory, or in a tree. Only where there is data.
  static func copy(_ content: FileContent, to target: CInt, isCancelled: () -> Bool) throws(Errno) {
    let size = content.size
    try Descriptor.resize(target, to: size)
    var place: Int64 = 0
    while place < size {
      do throws(Errno) { place = try content.seekData(from: place) } catch .noSuchAddressOrDevice { break }
      let end = try content.seekHole(from: place)
      try copyThroughMemory(place..<end, to: target, isCancelled) { (buffer, offset) throws(Errno) in
        try content.read(into: buffer, at: offset)
      }
      place = end
    }
  }

  static func copy(_ backing: any FileBacking, to target: CInt, isCancelled: () -> Bool) throws(Errno) {
    try copyThroughMemory(0..<backing.size, to: target, isCancelled) { (buffer, offset) throws(Errno) in
      try backing.read(into: buffer, at: offset)
    }
  }

  private static func copyThroughMemory(
    _ range: Range<Int64>, to target: CInt, _ isCancelled: () -> Bool,
    _ read: (UnsafeMutableRawBufferPointer, Int64) throws(Errno) -> Int
  ) throws(Errno) {
    let buffer = UnsafeMutableRawBufferPointer.allocate(
      byteCount: Int(min(Int64(step), Int64(range.count))), alignment: 4096)
    defer { buffer.deallocate() }
    var place = range.lowerBound
    while place < range.upperBound {
      if isCancelled() { throw .canceled }
      let part = UnsafeMutableRawBufferPointer(
        rebasing: buffer[..<Int(min(Int64(buffer.count), range.upperBound - place))])
      let count = try read(part, place)
      if count == 0 { return }
      try Descriptor.write(target, UnsafeRawBufferPointer(rebasing: part[..<count]), at: place)
      place += Int64(count)
    }
  }
}
