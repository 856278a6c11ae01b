extension TextCore where File: ~Copyable {
  /// Where the text is.
  mutating func position() throws(TemporaryFileError) -> TextPosition {
    try requireOpen("tell the position in")
    try drain()
    if !chunk.isLoaded {
      guard let resume else { return TextPosition(offset: try file.position) }
      if decoder.hasState { return resume }
      try startReading()
    }
    return decoder.hasState ? loosePosition : try exactPosition()
  }

  /// Where the text is, counted from the beginning of the chunk. Costs nothing, unlike going there.
  /// Preconditions: reading.
  var loosePosition: TextPosition {
    let skip = chunk.untranslated(chunk.next)
    return decoder.hasState
      ? TextPosition(offset: anchor, feed: chunk.offset - anchor, skip: skip)
      : TextPosition(offset: chunk.offset, skip: skip)
  }

  /// The byte that the next character begins with. Within the replacement of undecodable bytes, the first of those.
  /// Preconditions: reading; the decoder has no state, or may be left in any.
  private mutating func exactPosition() throws(TemporaryFileError) -> TextPosition {
    let target = chunk.untranslated(chunk.next)
    if chunk.next == chunk.text.count { return TextPosition(offset: chunk.offset + Int64(chunk.consumed)) }
    if target == 0 { return TextPosition(offset: chunk.offset) }
    if chunk.isIdentity { return TextPosition(offset: chunk.offset + Int64(chunk.markLength + target)) }

    var (text, byte) = chunk.known ?? (0, chunk.markLength)
    if target < text { (text, byte) = (0, chunk.markLength) }
    let scratch = UnsafeMutablePointer<UInt8>.allocate(capacity: target - text)
    defer { scratch.deallocate() }
    var output = UTF8Output(scratch, limit: target - text, isExact: true)
    let input = UnsafeBufferPointer(start: chunk.bytes.base + byte, count: chunk.consumed - byte)
    byte += try decoder.decode(input, isFinal: true, into: &output).consumed
    text += output.count
    chunk.known = (text, byte)
    return TextPosition(offset: chunk.offset + Int64(byte), skip: target - text)
  }

  /// The offset in the file of what is read next. Preconditions: reading. With a state, the decoder is lost.
  private mutating func byteOffset() throws(TemporaryFileError) -> Int64 {
    if decoder.hasState, chunk.next < chunk.text.count {
      // The decoder has to be in the state that it had at the beginning of the chunk.
      let chunkStart = chunk.offset
      let next = chunk.untranslated(chunk.next)
      try restart(at: TextPosition(offset: anchor, feed: chunkStart - anchor))
      try startReading()
      let scratch = UnsafeMutablePointer<UInt8>.allocate(capacity: max(1, next))
      defer { scratch.deallocate() }
      var output = UTF8Output(scratch, limit: next, isExact: true)
      var read = try chunk.fill(chunkSize, from: &file)
      var consumed = 0
      while read > 0, output.room > 0 {
        let rest = UnsafeBufferPointer(start: chunk.bytes.base + consumed, count: chunk.bytes.count - consumed)
        consumed += try decoder.decode(rest, isFinal: false, into: &output).consumed
        read = try chunk.fill(chunkSize, from: &file)
      }
      return chunk.offset + Int64(consumed)
    }
    return try exactPosition().offset
  }

  /// Forgets what has been read ahead: the file's position becomes the text's.
  mutating func leaveReading() throws(TemporaryFileError) {
    guard chunk.isLoaded || resume != nil else { return }
    let here = chunk.isLoaded ? loosePosition : resume!
    do throws(TemporaryFileError) {
      if !chunk.isLoaded { try startReading() }
      try file.seek(to: byteOffset())
    } catch {
      try? restart(at: here)
      throw error
    }
    chunk.reset()
    resume = nil
  }

  /// Whether something has to be read and passed over to get there.
  private func passes(_ place: TextPosition) -> Bool { place.feed > 0 || place.skip > 0 }

  /// Goes to `place`. Preconditions: nothing is pending.
  mutating func restart(at place: TextPosition) throws(TemporaryFileError) {
    try file.seek(to: place.offset)
    chunk.reset()
    resume = passes(place) ? place : nil
  }

  mutating func seek(to place: TextPosition) throws(TemporaryFileError) {
    try requireOpen("seek in")
    try drain()
    try restart(at: place)
    if place == TextPosition(offset: 0) { newlines = [] }
  }

  mutating func seekToEnd() throws(TemporaryFileError) {
    try requireOpen("seek in")
    try drain()
    try file.seek(to: 0, from: .end)
    chunk.reset()
    resume = nil
    newlines = []
  }

  mutating func resize(to place: TextPosition?) throws(TemporaryFileError) {
    try requireOpen("resize")
    let here = try position()
    let target = place ?? here
    do throws(TemporaryFileError) {
      var size = target.offset
      if passes(target) {
        try restart(at: target)
        try leaveReading()
        size = try file.position
      }
      try file.resize(to: size)
      if size == 0 { knowsOrder = false }
    } catch {
      try? restart(at: here)
      throw error
    }
    try restart(at: here)
  }

  /// Lets `body` use the file. Its position is the text's, before and after.
  mutating func withFile<Result: ~Copyable>(
    _ body: (inout File) throws(TemporaryFileError) -> Result
  ) throws(TemporaryFileError) -> Result {
    try flush()
    let here = try position()
    try leaveReading()
    let offset = try file.position
    defer {
      knowsOrder = false
      if passes(here), !file.isClosed, (try? file.position) == offset { try? restart(at: here) }
    }
    return try body(&file)
  }
}
