extension TextStream where File: ~Copyable {
  /// Writes text at the position: Python's `write()`. Some kilobytes are collected before they go to the file.
  ///
  /// - Throws: `encodingFailed` for text that has no bytes in the encoding; nothing of `text` is written then. `closed`,
  ///   and what writing to the file throws. In that case all of `text` has been taken: what is not written is pending,
  ///   and must not be handed over again; ``flush()`` tries once more, ``discardPending()`` gives up.
  /// - Complexity: O(length of `text`).
  public mutating func write(_ text: some StringProtocol) throws(TemporaryFileError) {
    let core = core
    var failure: TemporaryFileError?
    let isContiguous: Void? = text.utf8.withContiguousStorageIfAvailable { bytes in
      do throws(TemporaryFileError) { try core.pointee.write(bytes) } catch { failure = error }
    }
    if isContiguous == nil {
      var copy = String(text)
      copy.makeContiguousUTF8()
      return try write(copy)
    }
    if let failure { throw failure }
  }

  /// Writes one text after the other; line ends are not added. Python's `writelines()`.
  ///
  /// - Throws: as ``write(_:)``; the lines before the one that failed have been taken.
  public mutating func writeLines<Lines: Sequence>(_ lines: Lines) throws(TemporaryFileError)
  where Lines.Element: StringProtocol {
    for line in lines { try write(line) }
  }
}
