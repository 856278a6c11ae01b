internal import Glibc
internal import SystemPackage

// Encrypted spill files. Every page of 4 KiB that holds data is encrypted by itself and lies where it would lie in
// plain; what opens it (`Seal`) stays in memory. Pages without a seal read as zeros, whatever is on disk. On disk the
// file ends with a whole page.
//
// A page is written with a nonce of its own each time, so a part of a page is written by reading, changing and
// encrypting all of it. Reading takes no lock while it reads the disk: see `PageSeals`.

extension SpillFile {
  func readEncrypted(
    _ seals: PageSeals, into buffer: UnsafeMutableRawBufferPointer, at offset: Int64
  ) throws(Errno) -> Int {
    let cipher = try seals.key.cipher()
    let scratch = seals.key.scratch.take()
    defer { seals.key.scratch.putBack(scratch) }
    var done = 0
    while done < buffer.count {
      let range = PageScratch.range(from: offset + Int64(done), to: offset + Int64(buffer.count))
      let batch = EncryptedBatch(seals: seals, cipher: cipher, scratch: scratch, range: range)
      let target = UnsafeMutableRawBufferPointer(rebasing: buffer[done..<done + range.count])
      var count = try read(batch, into: target)
      if count == nil {
        // Torn by a write or cut at the same time, or not what was written.
        count = try seals.diskLock.withSharedLock { () throws(Errno) in try read(batch, into: target) }
      }
      guard let count else { throw .ioError }
      done += count
      if count < target.count { break }
    }
    return done
  }

  /// - Parameter end: the file becomes at least as long as that, and does not by what follows.
  func writeEncrypted(
    _ seals: PageSeals, _ bytes: UnsafeRawBufferPointer, at offset: Int64, end: Int64
  ) throws(Errno) {
    let cipher = try seals.key.cipher()
    let scratch = seals.key.scratch.take()
    defer { seals.key.scratch.putBack(scratch) }
    var done = 0
    while done < bytes.count {
      let range = PageScratch.range(from: offset + Int64(done), to: offset + Int64(bytes.count))
      let batch = EncryptedBatch(seals: seals, cipher: cipher, scratch: scratch, range: range)
      try write(UnsafeRawBufferPointer(rebasing: bytes[done..<done + range.count]), batch, end: end)
      done += range.count
    }
  }

  /// Returns the number of bytes read, less than asked for at the end of the file; nil if bytes and seals do not fit.
  private func read(
    _ batch: EncryptedBatch, into target: UnsafeMutableRawBufferPointer
  ) throws(Errno) -> Int? {
    let size = batch.copySeals()
    let range = batch.range.clamped(to: 0..<max(size, batch.range.lowerBound))
    guard let base = target.baseAddress, !range.isEmpty else { return 0 }
    guard try loadCiphertext(batch) else { return nil }
    for page in Layout.pages(of: range) {
      let part = Layout.bytes(ofPage: page).clamped(to: range)
      let within = batch.offset(of: part.lowerBound, inPage: page)..<batch.offset(of: part.upperBound, inPage: page)
      guard batch.open(page, within, to: base + Int(part.lowerBound - range.lowerBound)) else { return nil }
    }
    return range.count
  }

  /// Reads the pages from the first to the last one that has a seal. False if the disk has less.
  private func loadCiphertext(_ batch: EncryptedBatch) throws(Errno) -> Bool {
    guard let pages = batch.sealedPages() else { return true }
    let buffer = UnsafeMutableRawBufferPointer(
      start: batch.ciphertext(ofPage: pages.lowerBound), count: pages.count * Layout.page)
    return try readDisk(into: buffer, at: pages.lowerBound << Layout.pageShift) == buffer.count
  }

  private func write(_ bytes: UnsafeRawBufferPointer, _ batch: EncryptedBatch, end: Int64) throws(Errno) {
    _ = batch.copySeals()
    for page in batch.pages {
      let part = Layout.bytes(ofPage: page).clamped(to: batch.range)
      let source = bytes.baseAddress! + Int(part.lowerBound - batch.range.lowerBound)
      if part.count == Layout.page {
        try batch.seal(source, as: page)
      } else {
        try loadPlain(page, batch)
        memcpy(batch.scratch.plain + batch.offset(of: part.lowerBound, inPage: page), source, part.count)
        try batch.seal(batch.scratch.plain, as: page)
      }
    }
    try batch.seals.diskLock.withExclusiveLock { () throws(Errno) in try store(batch, end: end) }
  }

  /// Fills the scratch page with what the page reads as.
  private func loadPlain(_ page: Int64, _ batch: EncryptedBatch) throws(Errno) {
    if !batch.hasSeal(page) {
      memset(batch.scratch.plain, 0, Layout.page)
      return
    }
    let ciphertext = UnsafeMutableRawBufferPointer(start: batch.ciphertext(ofPage: page), count: Layout.page)
    guard try readDisk(into: ciphertext, at: page << Layout.pageShift) == Layout.page,
      batch.open(page, 0..<Layout.page, to: batch.scratch.plain)
    else { throw .ioError }
  }

  /// Writes the encrypted pages, and their seals as far as that came.
  ///
  /// Preconditions: `diskLock` held exclusively.
  private func store(_ batch: EncryptedBatch, end: Int64) throws(Errno) {
    let start = batch.pages.lowerBound << Layout.pageShift
    let bytes = UnsafeRawBufferPointer(
      start: batch.scratch.ciphertext, count: batch.pages.count * Layout.page)
    var done = 0
    defer {
      let pages = batch.pages.prefix(done / Layout.page)
      batch.seals.set(
        pages.startIndex..<pages.endIndex, to: batch.scratch.seals,
        end: min(end, batch.range.upperBound, start + Int64(done)))
    }
    while done < bytes.count { try writeDisk(bytes, at: start, done: &done) }
  }

  func resizeEncrypted(_ seals: PageSeals, to size: Int64) throws(Errno) {
    try seals.diskLock.withExclusiveLock { () throws(Errno) in
      try resizeDisk(to: Layout.roundedUpToPage(size))
      seals.resize(to: size)
    }
  }

  func punchEncrypted(_ seals: PageSeals, _ range: Range<Int64>) throws(Errno) {
    let inner = try clearEdges(seals, of: range)
    guard !inner.isEmpty else { return }
    seals.diskLock.withExclusiveLock {
      // Without their seals the pages are a hole, whatever the disk says.
      try? freeDisk(inner.lowerBound << Layout.pageShift..<inner.upperBound << Layout.pageShift)
      seals.remove(inner)
    }
  }

  func zeroEncrypted(_ seals: PageSeals, _ range: Range<Int64>) throws(Errno) {
    // Space first: when there is none, nothing has been cleared.
    try reserve(range)
    let inner = try clearEdges(seals, of: range)
    seals.diskLock.withExclusiveLock { seals.remove(inner) }
  }

  /// Makes the parts of the range read as zeros that do not cover a page. Returns the pages that it covers.
  private func clearEdges(_ seals: PageSeals, of range: Range<Int64>) throws(Errno) -> Range<Int64> {
    let pages = Layout.pages(of: range)
    let first = Layout.roundedUpToPage(range.lowerBound) >> Layout.pageShift
    let inner = first..<max(first, range.upperBound >> Layout.pageShift)
    for page in Set([pages.lowerBound, pages.upperBound - 1]) where !inner.contains(page) {
      try clear(seals, page, Layout.bytes(ofPage: page).clamped(to: range))
    }
    return inner
  }

  private func clear(_ seals: PageSeals, _ page: Int64, _ part: Range<Int64>) throws(Errno) {
    let start = page << Layout.pageShift
    let length = seals.length(ofPage: page)
    if Int(part.upperBound - start) >= length {
      seals.cut(page, to: Int(part.lowerBound - start))
    } else {
      try writeEncrypted(seals, Self.zeros(part.count), at: part.lowerBound, end: part.upperBound)
    }
  }
}

/// The part of a read or write that is encrypted and goes to disk at a time (`PageScratch.range`).
private struct EncryptedBatch {
  let seals: PageSeals
  let cipher: PageCipher
  let scratch: PageScratch
  let range: Range<Int64>

  var pages: Range<Int64> { Layout.pages(of: range) }

  /// Returns the size of the file at the moment of the seals.
  func copySeals() -> Int64 { seals.copy(pages, to: scratch.seals) }

  func hasSeal(_ page: Int64) -> Bool { !scratch.seals[position(page)].isEmpty }

  /// The pages from the first to the last one that has a seal.
  func sealedPages() -> Range<Int64>? {
    guard let first = pages.first(where: hasSeal), let last = pages.last(where: hasSeal) else { return nil }
    return first..<last + 1
  }

  /// Where in the scratch memory the page is when it is encrypted.
  func ciphertext(ofPage page: Int64) -> UnsafeMutableRawPointer {
    scratch.ciphertext + position(page) * Layout.page
  }

  func offset(of byte: Int64, inPage page: Int64) -> Int { Int(byte - page << Layout.pageShift) }

  func seal(_ plain: UnsafeRawPointer, as page: Int64) throws(Errno) {
    scratch.seals[position(page)] = try cipher.seal(plain, place(page), to: ciphertext(ofPage: page))
  }

  /// Copies bytes of the page to `target`. False if it is not what was written; `target` then has zeros, or what it had.
  func open(_ page: Int64, _ bytes: Range<Int>, to target: UnsafeMutableRawPointer) -> Bool {
    let seal = scratch.seals[position(page)]
    let data = bytes.clamped(to: 0..<max(seal.length, bytes.lowerBound))
    if data.count == Layout.page { return cipher.open(ciphertext(ofPage: page), seal, place(page), to: target) }
    if !data.isEmpty {
      let plain = ciphertext(ofPage: page)
      guard cipher.open(plain, seal, place(page), to: plain) else { return false }
      target.copyMemory(from: plain + data.lowerBound, byteCount: data.count)
    }
    memset(target + data.count, 0, bytes.count - data.count)
    return true
  }

  private func place(_ page: Int64) -> PagePlace { PagePlace(file: seals.file, page: page) }
  private func position(_ page: Int64) -> Int { Int(page - pages.lowerBound) }
}
