internal import Glibc

/// Part of a file that is being read: its bytes, and their text as UTF-8 with line ends translated.
struct TextChunk: ~Copyable {
  /// Where `bytes` lie in the file.
  private(set) var offset: Int64 = 0
  /// Whether there is anything: the file's position is then behind `bytes`.
  private(set) var isLoaded = false
  /// What has been read from the file. The first `consumed` of them are decoded.
  private(set) var bytes = ByteBuffer()
  private(set) var consumed = 0
  /// Bytes at the beginning that are a mark, and no text.
  var markLength = 0
  /// The text, up to `text.count`; what comes before `next` has been read by the user.
  private(set) var text = ByteBuffer()
  var next = 0
  /// Places in the text at which `\r\n` has become `\n`, so that places before translation can be found.
  private var collapsed: [Int] = []
  /// What the bytes after the consumed ones are.
  var fault: DecodingFault?
  /// Whether the text before translation is the bytes after the mark.
  var isIdentity = false
  /// A place whose byte is known, as both grow: of the text before translation, and of `bytes`. nil: the beginning.
  var known: (text: Int, byte: Int)?

  var end: Int64 { offset + Int64(bytes.count) }
  var unread: Int { text.count - next }

  mutating func load(at offset: Int64) {
    reset()
    self.offset = offset
    isLoaded = true
  }

  /// Forgets everything, but the memory.
  mutating func reset() {
    isLoaded = false
    bytes.count = 0
    consumed = 0
    clearText()
  }

  /// Goes on to the bytes that are not decoded yet.
  mutating func advance() {
    offset += Int64(consumed)
    bytes.removeFirst(consumed)
    consumed = 0
    clearText()
  }

  private mutating func clearText() {
    text.count = 0
    next = 0
    markLength = 0
    fault = nil
    known = nil
    isIdentity = false
    collapsed.removeAll(keepingCapacity: true)
  }

  /// Reads more bytes behind those that are there; returns how many there were.
  mutating func fill<File: ByteFile & ~Copyable>(
    _ count: Int, from file: inout File
  ) throws(TemporaryFileError) -> Int {
    bytes.reserve(bytes.count + count)
    let read = try file.read(into: UnsafeMutableRawBufferPointer(start: bytes.base + bytes.count, count: count))
    bytes.count += read
    return read
  }

  /// Decodes what is not decoded yet, as far as can be.
  mutating func decode(_ decoder: inout TextDecoder, isFinal: Bool) throws(TemporaryFileError) {
    consumed = max(consumed, markLength)
    let input = UnsafeBufferPointer(start: bytes.base + consumed, count: bytes.count - consumed)
    // As much as the longest replacement of all the bytes; what needs even more comes with the next call.
    text.reserve(text.count + 4 * input.count + 64)
    var output = UTF8Output(text.base, count: text.count, limit: text.capacity)
    let result = try decoder.decode(input, isFinal: isFinal, into: &output)
    text.count = output.count
    consumed += result.consumed
    fault = result.fault
    isIdentity = decoder.isIdentity && text.count == consumed - markLength
  }

  /// Gives the bytes of a `\r` at the end of the text back, to be decoded again with what follows; false if that cannot
  /// be.
  mutating func giveBack(_ carriageReturn: [UInt8]) -> Bool {
    let start = consumed - carriageReturn.count
    guard start >= markLength else { return false }
    let last = UnsafeBufferPointer(start: bytes.base + start, count: carriageReturn.count)
    // Something may have been left out behind it.
    guard last.elementsEqual(carriageReturn) else { return false }
    consumed = start
    text.count -= 1
    return true
  }
}

// MARK: - Line ends

extension TextChunk {
  /// Looks for line ends, and makes them all `\n` if told so. Once for a chunk. Returns the kinds that were found.
  mutating func scanNewlines(translating: Bool, known kinds: NewlineKinds) -> NewlineKinds {
    let base = text.base
    let count = text.count
    guard let first = memchr(base, 0x0d, count) else {
      return kinds.contains(.lf) || memchr(base, 0x0a, count) == nil ? kinds : kinds.union(.lf)
    }
    var kinds = kinds
    var source = 0
    if translating {
      source = UnsafeRawPointer(first) - UnsafeRawPointer(base)
      if memchr(base, 0x0a, source) != nil { kinds.insert(.lf) }
    }
    var target = source
    while source < count {
      var byte = base[source]
      source += 1
      if byte == 0x0d {
        if source < count, base[source] == 0x0a {
          kinds.insert(.crlf)
          if translating { collapsed.append(target) } else { target += 1 }
          source += 1
          byte = 0x0a
        } else {
          kinds.insert(.cr)
          if translating { byte = 0x0a }
        }
      } else if byte == 0x0a {
        kinds.insert(.lf)
      }
      if translating { base[target] = byte }
      target += 1
    }
    if translating { text.count = target }
    return kinds
  }

  /// How long the text of `count` bytes was before line ends were translated.
  func untranslated(_ count: Int) -> Int {
    var low = 0
    var high = collapsed.count
    while low < high {
      let middle = (low + high) / 2
      if collapsed[middle] < count { low = middle + 1 } else { high = middle }
    }
    return count + low
  }

  /// The whole text's length before line ends were translated.
  var untranslatedCount: Int { text.count + collapsed.count }

  /// Passes over text, `count` bytes of it before translation. Preconditions: there is so much.
  mutating func skip(untranslated count: Int) {
    // `untranslated` grows with each byte, so the place is found by halving.
    var low = 0
    var high = text.count
    while low < high {
      let middle = (low + high) / 2
      if untranslated(middle) < count { low = middle + 1 } else { high = middle }
    }
    next = low
  }
}

/// Memory for bytes that grows.
struct ByteBuffer: ~Copyable, @unchecked Sendable {
  // Unchecked: the memory is this buffer's alone.
  private(set) var base = UnsafeMutablePointer<UInt8>.allocate(capacity: 0)
  private(set) var capacity = 0
  var count = 0

  /// Makes room for so many bytes in all.
  mutating func reserve(_ needed: Int) {
    guard needed > capacity else { return }
    let larger = UnsafeMutablePointer<UInt8>.allocate(capacity: needed)
    larger.update(from: base, count: count)
    base.deallocate()
    base = larger
    capacity = needed
  }

  mutating func removeFirst(_ removed: Int) {
    guard removed > 0 else { return }
    count -= removed
    memmove(base, base + removed, count)
  }

  deinit { base.deallocate() }
}
