internal import Glibc

/// How writes and reads of a file behind a descriptor are collected: the `buffering` argument of Python's `open`.
public enum Buffering: Sendable, Hashable {
  /// What suits the kind of file: ``TemporaryFile`` collects 8 KiB, since nobody else can see it;
  /// ``NamedTemporaryFile`` collects nothing, so that whoever opens its path finds what has been written.
  case standard
  /// Each read and write is a system call. Python's 0.
  case none
  /// As ``standard`` or with 8 KiB, and written out after each write that holds a newline. Python's 1.
  case line
  /// That many bytes are collected, and read ahead; at most 64 MiB, and none for 0 or less. Python's larger numbers.
  case bytes(Int)

  static let standardCapacity = 8192
  private static let largestCapacity = 64 << 20

  func capacity(standard: Int) -> Int {
    switch self {
    case .standard: standard
    case .none: 0
    case .line: max(standard, Self.standardCapacity)
    case .bytes(let count): min(max(0, count), Self.largestCapacity)
    }
  }
}

/// Bytes of a file that are read ahead, or written and not yet handed to the system.
final class FileBuffer {
  let capacity: Int
  let flushesLines: Bool
  private let memory: UnsafeMutableRawPointer
  /// The offset in the file of the first byte in `memory`.
  private(set) var start: Int64 = 0
  private(set) var count = 0
  /// Whether the bytes have yet to be written.
  private(set) var isDirty = false

  init?(_ buffering: Buffering, standard: Int) {
    capacity = buffering.capacity(standard: standard)
    if capacity == 0 { return nil }
    flushesLines = buffering == .line
    memory = .allocate(byteCount: capacity, alignment: 16)
  }

  deinit { memory.deallocate() }

  var end: Int64 { start + Int64(count) }

  /// The bytes from `offset` on that have been read ahead.
  func bytes(from offset: Int64) -> UnsafeRawBufferPointer {
    guard !isDirty, offset >= start, offset < end else { return UnsafeRawBufferPointer(start: nil, count: 0) }
    let skipped = Int(offset - start)
    return UnsafeRawBufferPointer(start: memory + skipped, count: count - skipped)
  }

  /// What has yet to be written at `start`.
  var pending: UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: memory, count: isDirty ? count : 0)
  }

  /// Whether a write there goes on where the pending one ends, and fits.
  func takes(_ bytes: UnsafeRawBufferPointer, at offset: Int64) -> Bool {
    (!isDirty || offset == end) && bytes.count <= capacity - (isDirty ? count : 0)
  }

  /// Precondition: `takes(bytes, at: offset)`.
  func append(_ bytes: UnsafeRawBufferPointer, at offset: Int64) {
    if !isDirty {
      start = offset
      count = 0
      isDirty = true
    }
    UnsafeMutableRawBufferPointer(start: memory + count, count: capacity - count).copyMemory(from: bytes)
    count += bytes.count
  }

  /// The first `written` pending bytes are in the file.
  func didWrite(_ written: Int) {
    memmove(memory, memory + written, count - written)
    start += Int64(written)
    count -= written
    if count == 0 { isDirty = false }
  }

  /// Forgets what is pending from `offset` on.
  func dropPending(from offset: Int64) {
    guard isDirty, end > offset else { return }
    count = Int(max(0, offset - start))
    if count == 0 { isDirty = false }
  }

  /// Reads ahead with `read`, which fills a buffer with bytes from an offset on.
  ///
  /// Precondition: nothing is pending.
  func fill<Failure: Error>(
    from offset: Int64, _ read: (UnsafeMutableRawBufferPointer) throws(Failure) -> Int
  ) throws(Failure) {
    count = 0
    start = offset
    count = try read(UnsafeMutableRawBufferPointer(start: memory, count: capacity))
  }

  /// Forgets what has been read ahead; what is pending stays.
  func forget() {
    if !isDirty { count = 0 }
  }
}
