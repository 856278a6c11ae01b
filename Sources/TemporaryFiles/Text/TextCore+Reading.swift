internal import Glibc

extension TextCore where File: ~Copyable {
  mutating func readToEnd() throws(TemporaryFileError) -> String {
    try requireOpen("read from")
    guard try fill() else { return "" }
    let start = loosePosition
    var bytes: [UInt8] = []
    bytes.reserveCapacity(chunk.unread + Int(clamping: max(0, try file.size - chunk.end)))
    repeat {
      chunk.take(to: chunk.text.count, into: &bytes)
    } while try fill(orReturnTo: start)
    return String(copying: UTF8Span(unchecked: bytes.span))
  }

  mutating func read(count: Int) throws(TemporaryFileError) -> String {
    try requireOpen("read from")
    try requireCount(count)
    try drain()
    guard count > 0, try fill() else { return "" }
    var (end, scalars) = chunk.place(after: count)
    if scalars == count { return chunk.takeString(to: end) }

    let start = loosePosition
    var bytes: [UInt8] = []
    chunk.take(to: end, into: &bytes)
    var left = count - scalars
    while left > 0, try fill(orReturnTo: start) {
      (end, scalars) = chunk.place(after: left)
      chunk.take(to: end, into: &bytes)
      left -= scalars
    }
    return String(copying: UTF8Span(unchecked: bytes.span))
  }

  mutating func readLine(maximumCount: Int) throws(TemporaryFileError) -> String? {
    try requireOpen("read from")
    guard maximumCount > 0 else {
      try requireCount(maximumCount)
      try drain()
      return ""
    }
    guard try fill() else { return nil }
    var part = chunk.line(newline, maximumCount: maximumCount, isAfterCarriageReturn: false)
    if part.isWhole { return chunk.takeString(to: part.end) }

    let start = loosePosition
    var bytes: [UInt8] = []
    chunk.take(to: part.end, into: &bytes)
    var left = maximumCount - part.scalars
    while try fill(orReturnTo: start) {
      part = chunk.line(newline, maximumCount: left, isAfterCarriageReturn: bytes.last == 0x0d)
      chunk.take(to: part.end, into: &bytes)
      if part.isWhole { break }
      left -= part.scalars
    }
    return String(copying: UTF8Span(unchecked: bytes.span))
  }

  /// Makes sure that there is text to read; if that fails, none of it counts as read since `start`.
  private mutating func fill(orReturnTo start: TextPosition) throws(TemporaryFileError) -> Bool {
    do throws(TemporaryFileError) { return try fill() } catch {
      try? restart(at: start)
      throw error
    }
  }
}

extension TextChunk {
  /// The text up to `end`, which is read then.
  @inline(__always)
  mutating func takeString(to end: Int) -> String {
    defer { next = end }
    // The decoder has made sure that it is UTF-8, so that need not be found out once more.
    let bytes = Span(_unsafeStart: UnsafePointer(text.base + next), count: end - next)
    return String(copying: UTF8Span(unchecked: bytes))
  }

  mutating func take(to end: Int, into bytes: inout [UInt8]) {
    bytes.append(contentsOf: UnsafeBufferPointer(start: text.base + next, count: end - next))
    next = end
  }

  /// The place behind the next `count` scalars, or the end, and how many scalars come before it.
  func place(after count: Int) -> (end: Int, scalars: Int) {
    var index = next
    var scalars = 0
    // Eight bytes at a time: those that do not continue a character begin one.
    while count - scalars >= 8, text.count - index >= 8 {
      let word = UnsafeRawPointer(text.base + index).loadUnaligned(as: UInt64.self)
      let continuing = word & 0x8080_8080_8080_8080 & ~(word << 1)
      scalars += 8 - continuing.nonzeroBitCount
      index += 8
    }
    while index < text.count {
      if text.base[index] & 0xc0 != 0x80 {
        if scalars == count { break }
        scalars += 1
      }
      index += 1
    }
    return (index, scalars)
  }

  /// The end of the next line, its line end included, as far as it is here.
  ///
  /// - Parameter isAfterCarriageReturn: whether the part of the line that was taken before ends with `\r`.
  func line(
    _ newline: NewlineMode, maximumCount: Int, isAfterCarriageReturn: Bool
  ) -> (end: Int, scalars: Int, isWhole: Bool) {
    if maximumCount == .max || maximumCount >= unread {
      if let end = lineEnd(newline, before: text.count, isAfterCarriageReturn) { return (end, 0, true) }
      if maximumCount == .max { return (text.count, 0, false) }
    }
    let (limit, scalars) = place(after: maximumCount)
    if let end = lineEnd(newline, before: limit, isAfterCarriageReturn) { return (end, 0, true) }
    return (limit, scalars, scalars == maximumCount)
  }

  @inline(__always)
  private func lineEnd(_ newline: NewlineMode, before limit: Int, _ isAfterCarriageReturn: Bool) -> Int? {
    switch newline {
    case .universal, .lf: return place(behind: 0x0a, from: next, before: limit)
    case .cr: return place(behind: 0x0d, from: next, before: limit)
    case .untranslated:
      let feed = place(behind: 0x0a, from: next, before: limit)
      guard let end = place(behind: 0x0d, from: next, before: feed ?? limit) else { return feed }
      return end < limit && text.base[end] == 0x0a ? end + 1 : end
    case .crlf:
      if isAfterCarriageReturn, next < limit, text.base[next] == 0x0a { return next + 1 }
      var start = next
      while let end = place(behind: 0x0d, from: start, before: limit) {
        if end < limit, text.base[end] == 0x0a { return end + 1 }
        start = end
      }
      return nil
    }
  }

  @inline(__always)
  private func place(behind byte: UInt8, from start: Int, before limit: Int) -> Int? {
    guard let found = memchr(text.base + start, Int32(byte), limit - start) else { return nil }
    return UnsafeRawPointer(found) - UnsafeRawPointer(text.base) + 1
  }
}
