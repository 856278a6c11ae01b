import CHostCalls
import Foundation
import SystemPackage
import TestSupport

/// One file and what it must contain: after the manner of fsx, random reads and writes in every way there is, each
/// compared with a plain array of bytes.
final class DataExerciser {
  enum Operation: CaseIterable {
    case read, write, append, mapRead, mapWrite, truncate, punch, zero, allocate, copy, reopen, sync, directRead
    case directWrite
  }

  struct Mismatch: Error, CustomStringConvertible {
    var description: String
  }

  private static let largest = 600_000
  private static let page = Int(getpagesize())
  private static let directFlag: Int32 = 0o40000

  private let path: String
  private let seed: UInt64
  private var random: SeededGenerator
  private var file: HostFile
  private var model: [UInt8] = []
  private var log: [String] = []

  init(_ path: String, seed: UInt64) throws {
    self.path = path
    self.seed = seed
    random = SeededGenerator(seed: seed)
    file = try HostFile(path, O_CREAT | O_RDWR)
  }

  /// Does `count` operations and compares the whole file in the end.
  ///
  /// - Throws: `Mismatch` with the seed and the last operations.
  func run(_ count: Int) throws {
    for number in 0..<count {
      let operation = Operation.allCases.randomElement(using: &random)!
      do {
        try perform(operation)
      } catch {
        throw report("\(error) in operation \(number), \(operation)")
      }
    }
    try checkWhole()
  }

  // MARK: - Operations

  private func perform(_ operation: Operation) throws {
    switch operation {
    case .read: try read()
    case .write: try write(at: randomOffset())
    case .append: try write(at: model.count)
    case .mapRead: try mapRead()
    case .mapWrite: try mapWrite()
    case .truncate: try truncate(to: random.next(upperBound: UInt64(2)) == 0 ? randomOffset() : randomSmallOffset())
    case .punch: try clear(mode: 1 | 2, "punch", grows: false)
    case .zero: try clear(mode: 16, "zero", grows: true)
    case .allocate: try allocate()
    case .copy: try copy()
    case .reopen:
      note("reopen")
      file = try HostFile(path)
    case .sync:
      note("sync")
      try file.sync()
    case .directRead: try directRead()
    case .directWrite: try directWrite()
    }
    let size = try file.status.size
    if size != Int64(model.count) { throw Mismatch(description: "size \(size), not \(model.count)") }
  }

  private func read() throws {
    let offset = randomOffset()
    let count = randomCount()
    note("read \(offset) \(count)")
    try compare(try file.read(count, at: Int64(offset)), offset, count)
  }

  private func write(at offset: Int) throws {
    let bytes = randomBytes(min(randomCount(), Self.largest - offset))
    note("write \(offset) \(bytes.count)")
    try file.write(bytes, at: Int64(offset))
    store(bytes, at: offset)
  }

  private func mapRead() throws {
    guard !model.isEmpty else { return }
    let offset = Int.random(in: 0..<model.count, using: &random)
    let count = min(randomCount(), model.count - offset)
    note("map and read \(offset) \(count)")
    try withMapping(offset, count, PROT_READ) { try compare(Array($0), offset, count) }
  }

  private func mapWrite() throws {
    let offset = randomOffset()
    let bytes = randomBytes(min(randomCount(), Self.largest - offset))
    guard !bytes.isEmpty else { return }
    if offset + bytes.count > model.count { try truncate(to: offset + bytes.count) }
    let synchronizes = Bool.random(using: &random)
    note("map and write \(offset) \(bytes.count)\(synchronizes ? ", msync" : "")")
    try withMapping(offset, bytes.count, PROT_READ | PROT_WRITE) { mapped in
      mapped.copyBytes(from: bytes)
      if synchronizes { try Self.synchronize(mapped) }
    }
    store(bytes, at: offset)
  }

  private static func synchronize(_ mapped: UnsafeMutableRawBufferPointer) throws {
    let excess = Int(bitPattern: mapped.baseAddress!) % page
    if msync(mapped.baseAddress! - excess, mapped.count + excess, MS_SYNC) != 0 { throw Errno(rawValue: errno) }
  }

  private func truncate(to size: Int) throws {
    note("truncate \(size)")
    try file.resize(to: Int64(size))
    resizeModel(size)
  }

  private func clear(mode: Int32, _ name: String, grows: Bool) throws {
    let offset = randomOffset()
    let count = min(randomCount(), Self.largest - offset)
    guard count > 0 else { return }
    note("\(name) \(offset) \(count)")
    try file.allocate(mode, at: Int64(offset), count: Int64(count))
    if grows, offset + count > model.count { resizeModel(offset + count) }
    for index in min(offset, model.count)..<min(offset + count, model.count) { model[index] = 0 }
  }

  private func allocate() throws {
    let offset = randomOffset()
    let count = min(randomCount(), Self.largest - offset)
    guard count > 0 else { return }
    let keepsSize = Bool.random(using: &random)
    note("allocate \(offset) \(count)\(keepsSize ? ", keeping the size" : "")")
    try file.allocate(keepsSize ? 1 : 0, at: Int64(offset), count: Int64(count))
    if !keepsSize, offset + count > model.count { resizeModel(offset + count) }
  }

  private func copy() throws {
    guard model.count > 1 else { return }
    let count = min(randomCount(), model.count / 2, Self.largest / 2)
    guard count > 0 else { return }
    let source = Int.random(in: 0...(model.count - count), using: &random)
    let target = randomOffset()
    // Ranges of one file must not overlap (EINVAL).
    guard abs(source - target) >= count, target + count <= Self.largest else { return }
    note("copy \(source) to \(target) \(count)")
    let bytes = Array(model[source..<(source + count)])
    var copied = 0
    while copied < count {
      let part = try file.copy(
        from: Int64(source + copied), to: file, at: Int64(target + copied), count: count - copied)
      if part == 0 { throw Mismatch(description: "copied \(copied) of \(count)") }
      copied += Int(part)
    }
    store(bytes, at: target)
  }

  private func directRead() throws {
    let offset = randomOffset() & ~4095
    let count = max(4096, randomCount() & ~4095)
    note("read directly \(offset) \(count)")
    let direct = try HostFile(path, O_RDONLY | Self.directFlag)
    try withAlignedBuffer(count) { buffer in
      let got = try check(host_read(direct.descriptor, buffer.baseAddress, count, Int64(offset)))
      try compare(Array(buffer[..<Int(got)]), offset, count)
    }
  }

  private func directWrite() throws {
    let offset = randomOffset() & ~4095
    let count = max(4096, min(randomCount(), Self.largest - offset) & ~4095)
    let bytes = randomBytes(count)
    note("write directly \(offset) \(count)")
    let direct = try HostFile(path, O_WRONLY | Self.directFlag)
    try withAlignedBuffer(count) { buffer in
      buffer.copyBytes(from: bytes)
      let written = try check(host_write(direct.descriptor, buffer.baseAddress, count, Int64(offset)))
      if written != count { throw Mismatch(description: "wrote \(written) of \(count)") }
    }
    store(bytes, at: offset)
  }

  // MARK: - The model

  private func store(_ bytes: [UInt8], at offset: Int) {
    if offset + bytes.count > model.count, !bytes.isEmpty { resizeModel(offset + bytes.count) }
    model.replaceSubrange(offset..<(offset + bytes.count), with: bytes)
  }

  private func resizeModel(_ size: Int) {
    if size < model.count {
      model.removeLast(model.count - size)
    } else {
      model += [UInt8](repeating: 0, count: size - model.count)
    }
  }

  private func compare(_ bytes: [UInt8], _ offset: Int, _ count: Int) throws {
    let expected = offset < model.count ? Array(model[offset..<min(offset + count, model.count)]) : []
    if bytes == expected { return }
    if bytes.count != expected.count {
      throw Mismatch(description: "\(bytes.count) bytes at \(offset), not \(expected.count)")
    }
    let place = zip(bytes, expected).enumerated().first { $1.0 != $1.1 }!
    throw Mismatch(
      description: "byte \(offset + place.offset) is \(place.element.0), not \(place.element.1)")
  }

  private func checkWhole() throws {
    do {
      try compare(try Host.contents(path), 0, Self.largest * 2)
    } catch {
      throw report("\(error) in the end")
    }
  }

  private func report(_ text: String) -> Mismatch {
    Mismatch(
      description: "\(text); again with SPOOLFS_SEED=\(seed). Last operations:\n"
        + log.suffix(25).joined(separator: "\n"))
  }

  private func note(_ text: String) {
    log.append(text + " (size \(model.count))")
    if log.count > 200 { log.removeFirst(100) }
  }

  // MARK: - Chance

  private func randomOffset() -> Int { Int.random(in: 0...(Self.largest - 4096), using: &random) }

  private func randomSmallOffset() -> Int { Int.random(in: 0...20_000, using: &random) }

  /// Small and large ones alike.
  private func randomCount() -> Int {
    Int.random(in: 1...(1 << Int.random(in: 1...17, using: &random)), using: &random)
  }

  private func randomBytes(_ count: Int) -> [UInt8] {
    pattern(max(0, count), seed: Int.random(in: 0..<8000, using: &random))
  }

  private func withMapping(
    _ offset: Int, _ count: Int, _ protection: Int32, _ body: (UnsafeMutableRawBufferPointer) throws -> Void
  ) throws {
    let start = offset & ~(Self.page - 1)
    let length = offset - start + count
    guard let address = mmap(nil, length, protection, MAP_SHARED, file.descriptor, off_t(start)),
      address != MAP_FAILED
    else { throw Errno(rawValue: errno) }
    defer { munmap(address, length) }
    try body(UnsafeMutableRawBufferPointer(start: address + (offset - start), count: count))
  }

  private func withAlignedBuffer(_ count: Int, _ body: (UnsafeMutableRawBufferPointer) throws -> Void) throws {
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: count, alignment: 4096)
    defer { buffer.deallocate() }
    try body(buffer)
  }
}
