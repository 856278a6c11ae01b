internal import SystemPackage

/// What a text stream consists of and does; ``TextStream`` owns it.
///
/// It is in one of three states:
/// - reading: `chunk` is loaded, and the file's position is behind it;
/// - writing: `pending` is not empty, and belongs where the file's position is;
/// - neither: the file's position is the text's, or `resume` tells what to pass over first.
struct TextCore<File: ByteFile & ~Copyable>: ~Copyable {
  var file: File
  let newline: NewlineMode
  var lineBuffering: Bool
  var writeThrough: Bool
  let chunkSize: Int

  var decoder: TextDecoder
  var encoder: TextEncoder
  var chunk = TextChunk()
  /// Bytes of text that are not written yet.
  var pending: [UInt8] = []
  /// Where to go on reading, if that is not simply the file's position.
  var resume: TextPosition?
  /// Kinds of line ends that were read.
  var newlines: NewlineKinds = []
  /// Where the text begins, and so its mark. Python looks for one where the file was when the stream was made, too.
  let markOffset: Int64
  /// Whether the order in the mark of the file has been looked for.
  var knowsOrder = false
  /// For encodings with a state: where it was the initial one.
  var anchor: Int64 = 0

  init(
    _ file: consuming File, encoding: TextEncoding, newline: NewlineMode, errors: TextErrorMode, lineBuffering: Bool,
    writeThrough: Bool, chunkSize: Int
  ) {
    markOffset = (try? file.position) ?? 0
    self.file = file
    self.newline = newline
    self.lineBuffering = lineBuffering
    self.writeThrough = writeThrough
    self.chunkSize = max(1, chunkSize)
    decoder = TextDecoder(encoding, errors: errors)
    encoder = TextEncoder(encoding, errors: errors)
  }

  consuming func intoFile() -> File { file }

  var encoding: TextEncoding { decoder.encoding }

  @inline(__always)
  func requireOpen(_ operation: String) throws(TemporaryFileError) {
    guard !file.isClosed else {
      throw TemporaryFileError(.closed, operation: operation, message: "the file is closed")
    }
  }

  func requireCount(_ count: Int) throws(TemporaryFileError) {
    guard count >= 0 else {
      throw TemporaryFileError(.invalidArgument, operation: "read from", errno: .invalidArgument)
    }
  }
}

// MARK: - Marks

extension TextCore where File: ~Copyable {
  /// Whether text at that offset begins with a mark, if there is one.
  func mayHaveMark(at offset: Int64) -> Bool { encoding.hasMark && (offset == 0 || offset == markOffset) }

  /// Looks at the mark of the file, if its order matters and is not known. Preconditions: not reading.
  mutating func learnOrder() throws(TemporaryFileError) {
    guard encoding.hasMark, !knowsOrder else { return }
    switch encoding.form {
    case .utf16, .utf32: break
    default: return
    }
    let place = try file.position
    // What is still pending lies behind.
    guard try file.size >= 2 else { return setOrder(.native) }
    var start: UInt32 = 0
    try file.seek(to: markOffset)
    var failure: TemporaryFileError?
    withUnsafeMutableBytes(of: &start) { buffer in
      do throws(TemporaryFileError) { _ = try file.read(into: buffer) } catch { failure = error }
    }
    try file.seek(to: place)
    if let failure { throw failure }
    setOrder(order(ofMark: withUnsafeBytes(of: start) { Array($0) }) ?? .native)
  }

  mutating func setOrder(_ order: ByteOrder) {
    decoder.order = order
    encoder.order = order
    knowsOrder = true
  }

  /// The order that a file with these first bytes has; nil without a mark.
  private func order(ofMark bytes: [UInt8]) -> ByteOrder? {
    if case .utf32 = encoding.form {
      return bytes.starts(with: [0xff, 0xfe, 0, 0]) ? .little : bytes.starts(with: [0, 0, 0xfe, 0xff]) ? .big : nil
    }
    return bytes.starts(with: [0xff, 0xfe]) ? .little : bytes.starts(with: [0xfe, 0xff]) ? .big : nil
  }

  /// Takes the mark off a chunk at the beginning of the text. Preconditions: as many bytes are there as a mark has, or
  /// all of the file.
  mutating func takeMark() {
    let bytes = Array(UnsafeBufferPointer(start: chunk.bytes.base, count: min(4, chunk.bytes.count)))
    if case .utf8 = encoding.form {
      if bytes.starts(with: [0xef, 0xbb, 0xbf]) { chunk.markLength = 3 }
    } else {
      let found = order(ofMark: bytes)
      if found != nil { chunk.markLength = if case .utf32 = encoding.form { 4 } else { 2 } }
      setOrder(found ?? .native)
    }
  }
}

// MARK: - Filling

extension TextCore where File: ~Copyable {
  /// Begins to read where the text is.
  mutating func startReading() throws(TemporaryFileError) {
    try drain()
    guard !chunk.isLoaded else { return }
    let offset = try file.position
    if !mayHaveMark(at: offset) { try learnOrder() }
    decoder.reset()
    anchor = offset
    chunk.load(at: offset)
    guard let place = resume else { return }
    do throws(TemporaryFileError) {
      try pass(over: place)
      resume = nil
    } catch {
      chunk.reset()
      try file.seek(to: offset)
      throw error
    }
  }

  /// Decodes what lies between the beginning of `place` and `place` itself.
  private mutating func pass(over place: TextPosition) throws(TemporaryFileError) {
    var feed = place.feed
    while feed > 0 {
      let wanted = Int(min(Int64(chunkSize), feed))
      let read = try chunk.fill(wanted, from: &file)
      try chunk.decode(&decoder, isFinal: false)
      if let fault = chunk.fault { throw decodingError(fault) }
      chunk.advance()
      feed -= Int64(read)
      if read < wanted { return }
    }
    var skip = place.skip
    while skip > 0, try loadMore() {
      let passed = min(skip, chunk.untranslatedCount)
      chunk.skip(untranslated: passed)
      skip -= passed
    }
  }

  /// Makes sure that there is text to read; false at the end of the file.
  @inline(__always)
  mutating func fill() throws(TemporaryFileError) -> Bool {
    if chunk.unread > 0 { return true }
    if !chunk.isLoaded {
      try startReading()
      if chunk.unread > 0 { return true }
    }
    return try loadMore()
  }

  private mutating func loadMore() throws(TemporaryFileError) -> Bool {
    if let fault = chunk.fault { throw decodingError(fault) }
    chunk.advance()
    let marked = mayHaveMark(at: chunk.offset)
    while true {
      let read = try chunk.fill(chunkSize, from: &file)
      // Less than asked for may be followed by more, as the file grows.
      let isEnd = read == 0
      if marked, chunk.consumed == 0 {
        if chunk.bytes.count < 4, !isEnd { continue }
        takeMark()
      }
      try chunk.decode(&decoder, isFinal: isEnd)
      if chunk.fault == nil, !isEnd {
        if chunk.text.count == 0 || needsMore() { continue }
      }
      if newline.seesAllKinds {
        newlines = chunk.scanNewlines(translating: newline == .universal, known: newlines)
      }
      if chunk.text.count > 0 { return true }
      if let fault = chunk.fault { throw decodingError(fault) }
      return false
    }
  }

  /// Whether the text ends with a `\r` that may belong to a `\n`, and cannot be left for later.
  private mutating func needsMore() -> Bool {
    guard newline.seesAllKinds, chunk.text.base[chunk.text.count - 1] == 0x0d else { return false }
    guard let carriageReturn = decoder.carriageReturn, chunk.giveBack(carriageReturn) else { return true }
    return chunk.text.count == 0
  }

  private func decodingError(_ fault: DecodingFault) -> TemporaryFileError {
    let start = chunk.consumed
    let bytes = UnsafeBufferPointer(start: chunk.bytes.base + start, count: fault.count).prefix(8)
      .map { (($0 < 16) ? "0" : "") + String($0, radix: 16) }.joined(separator: " ")
    return TemporaryFileError(
      .decodingFailed, operation: "read text from",
      message: "\(bytes) at byte \(chunk.offset + Int64(start)) is not \(encoding.name)")
  }
}
