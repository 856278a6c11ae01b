internal import CSpoolSystem
internal import Glibc

/// What the system call that a caller sleeps in is about to write.
///
/// FUSE does not say why the kernel asks for attributes. /proc/TID/syscall does: the call's number and its arguments.
enum CallerIntent: Equatable {
  /// The call writes nothing.
  case none
  /// `count` bytes from memory; `offset` nil: at the descriptor's position.
  case write(descriptor: Int32, count: Int64, offset: Int64?)
  /// Parts of memory that a list at `address` describes.
  case vector(descriptor: Int32, address: UInt64, parts: Int, offset: Int64?)
  /// At most `count` bytes at a time from one descriptor to the other.
  case transfer(from: Int32, to: Int32, count: Int64)
  /// The caller is in no system call: it touches a mapping.
  case pageFault
  /// Nobody says: a thread of the kernel's, another ABI, an asynchronous write, or /proc keeps it secret.
  case unknown
  /// The thread runs.
  case running

  /// Bytes that the kernel moves from file to file in one go: what a pipe holds by default, and at most.
  private static let transferSize: Int64 = 64 << 10
  private static let largestPipe: Int64 = 1 << 20

  /// Reads the text of /proc/TID/syscall: `running`, or number, six arguments, stack and instruction pointer; for a thread in
  /// no system call, -1 and both pointers.
  init(_ text: UnsafeRawBufferPointer) {
    let words = text.split { $0 == UInt8(ascii: " ") || $0 == UInt8(ascii: "\n") }
    guard let first = words.first else {
      self = .unknown
      return
    }
    if first.elementsEqual("running".utf8) {
      self = .running
    } else if first.elementsEqual("-1".utf8), words.count == 3 {
      // A thread of the kernel's has neither pointer.
      self = Self.hexadecimal(words[1]) == 0 ? .unknown : .pageFault
    } else if let number = UnsafeRawBufferPointer(rebasing: first).number(at: 0), words.count == 9 {
      let values = words[1...].map(Self.hexadecimal)
      self = values[6] == 0 ? .unknown : Self(number, Array(values[..<6]))
    } else {
      self = .unknown
    }
  }

  private init(_ number: Int, _ arguments: [UInt64]) {
    func descriptor(_ place: Int) -> Int32 { Int32(truncatingIfNeeded: arguments[place]) }
    let count = Int64(clamping: arguments[2])
    let offset = Int64(bitPattern: arguments[3])
    let parts = Int(clamping: arguments[2])
    switch number {
    case Int(SYS_write): self = .write(descriptor: descriptor(0), count: count, offset: nil)
    case Int(SYS_pwrite64): self = .write(descriptor: descriptor(0), count: count, offset: offset)
    case Int(SYS_writev):
      self = .vector(descriptor: descriptor(0), address: arguments[1], parts: parts, offset: nil)
    case Int(SYS_pwritev), Int(SYS_pwritev2):
      // pwritev2(2) takes -1 for the descriptor's position.
      self = .vector(
        descriptor: descriptor(0), address: arguments[1], parts: parts, offset: offset < 0 ? nil : offset)
    case Int(SYS_sendfile):
      self = .transfer(from: descriptor(1), to: descriptor(0), count: min(offset, Self.transferSize))
    case Int(SYS_copy_file_range):
      self = .transfer(
        from: descriptor(0), to: descriptor(2), count: min(Int64(clamping: arguments[4]), Self.transferSize))
    case Int(SYS_splice):
      self = .transfer(
        from: descriptor(0), to: descriptor(2), count: min(Int64(clamping: arguments[4]), Self.largestPipe))
    case Int(SYS_io_submit), Int(SYS_io_uring_enter): self = .unknown
    default: self = Self.isOfOtherABI(number) ? .unknown : .none
    }
  }

  /// Calls that write in programs of 32 bits on a 64-bit x86. There these numbers are calls that ask for no attributes through
  /// a descriptor.
  private static func isOfOtherABI(_ number: Int) -> Bool {
    #if arch(x86_64)
      // write, writev, pwrite64, sendfile, sendfile64, splice, pwritev, copy_file_range, pwritev2
      return [4, 146, 181, 187, 239, 313, 334, 377, 379].contains(number)
    #else
      return false
    #endif
  }

  /// 0x and digits.
  private static func hexadecimal(_ word: Slice<UnsafeRawBufferPointer>) -> UInt64 {
    word.dropFirst(2).reduce(0) { value, byte in
      let digit = byte < UInt8(ascii: "a") ? byte &- UInt8(ascii: "0") : byte &- UInt8(ascii: "a") &+ 10
      return value << 4 | UInt64(digit & 15)
    }
  }
}

/// What /proc/TID/fdinfo/FD tells of a descriptor.
struct CallerDescriptor: Equatable {
  var position: Int64 = 0
  /// The O_ flags of open(2).
  var flags: Int32 = 0
  /// The number of the file; 0 before Linux 5.14.
  var inode: UInt64 = 0

  init?(_ text: UnsafeRawBufferPointer) {
    var isComplete = false
    for line in text.split(separator: UInt8(ascii: "\n")) {
      guard let colon = line.firstIndex(of: UInt8(ascii: ":")) else { continue }
      let value = line[line.index(after: colon)...].drop { $0 == UInt8(ascii: "\t") || $0 == UInt8(ascii: " ") }
      let number = String(decoding: value, as: UTF8.self)
      switch String(decoding: line[..<colon], as: UTF8.self) {
      case "pos": position = Int64(number) ?? 0
      case "flags":
        guard let parsed = Int32(number, radix: 8) else { return nil }
        flags = parsed
        isComplete = true
      case "ino": inode = UInt64(number) ?? 0
      default: break
      }
    }
    if !isComplete { return nil }
  }

  var appends: Bool { flags & O_APPEND != 0 }
  var isDirect: Bool { flags & spool_o_direct != 0 }
  var writes: Bool { flags & O_ACCMODE != O_RDONLY }
}
