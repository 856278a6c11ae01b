import SystemPackage
import Testing

@testable import TemporaryFiles

extension FileCase {
  func resizingAndTheRest(_ file: inout some ByteFile & ~Copyable) throws {
    switch self {
    case .resizingSmaller: try resizingSmaller(&file)
    case .resizingLarger: try resizingLarger(&file)
    case .resizingToThePosition: try resizingToThePosition(&file)
    case .resizingBelowZero: try resizingBelowZero(&file)
    case .resizingToNothing: try resizingToNothing(&file)
    case .whatWasCutOffReadsAsZeros: try whatWasCutOffReadsAsZeros(&file)
    case .flushing: try flushing(&file)
    case .whatAFileCanDo: try whatAFileCanDo(&file)
    case .closingTwice: try closingTwice(&file)
    default: try closed(&file)
    }
  }

  private func resizingSmaller(_ file: inout some ByteFile & ~Copyable) throws {
    try file.put("abcdef")
    try file.resize(to: 2)
    #expect(try file.size == 2 && file.position == 6)
    try file.put("X")
    #expect(try file.all() == "ab....X")
  }

  private func resizingLarger(_ file: inout some ByteFile & ~Copyable) throws {
    try file.put("abc")
    try file.resize(to: 8)
    #expect(try file.size == 8 && file.position == 3)
    #expect(try file.all() == "abc.....")
  }

  private func resizingToThePosition(_ file: inout some ByteFile & ~Copyable) throws {
    try file.put("abcdef")
    try file.seek(to: 4)
    try file.resize()
    #expect(try file.size == 4 && file.position == 4)
    try file.seek(to: 6)
    try file.resize()
    #expect(try file.size == 6 && file.all() == "abcd..")
  }

  private func resizingBelowZero(_ file: inout some ByteFile & ~Copyable) throws {
    try file.put("abc")
    failure(.invalidArgument) { () throws(TemporaryFileError) in try file.resize(to: -1) }
    failure(.invalidArgument) { () throws(TemporaryFileError) in try file.resize(to: .min) }
    #expect(try file.size == 3 && file.position == 3 && file.all() == "abc")
  }

  private func resizingToNothing(_ file: inout some ByteFile & ~Copyable) throws {
    try file.put("abcdef")
    try file.resize(to: 0)
    #expect(try file.size == 0 && file.position == 6)
    try file.seek(to: 0)
    #expect(try file.readToEnd() == [])
    try file.put("xyz")
    #expect(try file.all() == "xyz")
  }

  private func whatWasCutOffReadsAsZeros(_ file: inout some ByteFile & ~Copyable) throws {
    try file.put("abcdef")
    try file.seek(to: 0)
    #expect(try text(file.read(count: 2)) == "ab")
    try file.resize(to: 3)
    try file.resize(to: 6)
    #expect(try text(file.read(count: 1)) == "c")
    #expect(try file.all() == "abc...")
  }

  private func flushing(_ file: inout some ByteFile & ~Copyable) throws {
    try file.put("abc")
    try file.flush()
    try file.flush()
    #expect(try file.position == 3)
    try file.seek(to: 1)
    _ = try file.read(count: 1)
    try file.flush()
    #expect(try text(file.readToEnd()) == "c")
  }

  private func whatAFileCanDo(_ file: inout some ByteFile & ~Copyable) throws {
    #expect(file.isReadable == true && file.isWritable == true && file.isSeekable == true)
    #expect(file.isTerminal == false && file.isClosed == false)
    try file.close()
    #expect(file.isReadable == false && file.isWritable == false && file.isSeekable == false)
    #expect(file.isTerminal == false && file.isClosed == true)
  }

  private func closingTwice(_ file: inout some ByteFile & ~Copyable) throws {
    try file.put("abc")
    for _ in 0..<3 {
      try file.close()
      #expect(file.isClosed == true)
    }
  }

  private func closed(_ file: inout some ByteFile & ~Copyable) throws {
    typealias Failure = TemporaryFileError
    try file.put("abc")
    try file.close()
    failure(.closed) { () throws(Failure) in _ = try file.position }
    failure(.closed) { () throws(Failure) in _ = try file.size }
    failure(.closed) { () throws(Failure) in _ = try file.read(count: 1) }
    failure(.closed) { () throws(Failure) in _ = try file.read(count: 0) }
    failure(.closed) { () throws(Failure) in _ = try file.read(count: -1) }
    failure(.closed) { () throws(Failure) in
      _ = try file.read(into: UnsafeMutableRawBufferPointer(start: nil, count: 0))
    }
    failure(.closed) { () throws(Failure) in _ = try file.readToEnd() }
    failure(.closed) { () throws(Failure) in _ = try file.readLine() }
    failure(.closed) { () throws(Failure) in _ = try file.readLine(maximumCount: 0) }
    failure(.closed) { () throws(Failure) in _ = try file.readLines() }
    failure(.closed) { () throws(Failure) in try file.put("d") }
    failure(.closed) { () throws(Failure) in try file.write([]) }
    failure(.closed) { () throws(Failure) in try file.writeLines([[UInt8]]()) }
    failure(.closed) { () throws(Failure) in try file.seek(to: 0) }
    failure(.closed) { () throws(Failure) in try file.seek(to: -1) }
    failure(.closed) { () throws(Failure) in try file.seek(to: 0, from: .current) }
    failure(.closed) { () throws(Failure) in try file.seek(to: 0, from: .end) }
    failure(.closed) { () throws(Failure) in try file.resize(to: 0) }
    failure(.closed) { () throws(Failure) in try file.resize(to: -1) }
    failure(.closed) { () throws(Failure) in try file.resize() }
    failure(.closed) { () throws(Failure) in try file.flush() }
    #expect(throws: Failure.self) { try file.forEachLine { _ in } }
  }
}

/// Up to the maximum size everything works, and past it nothing changes.
struct MaximumSizeCheck: FileCheck {
  let size: Int64

  func run(on file: inout some ByteFile & ~Copyable) throws {
    let full = [UInt8](repeating: 1, count: Int(size))
    try file.write(full)
    #expect(try file.size == size && file.position == size)
    failure(.sizeLimitExceeded) { () throws(TemporaryFileError) in try file.write([2]) }
    failure(.sizeLimitExceeded) { () throws(TemporaryFileError) in try file.resize(to: size + 1) }
    try file.resize(to: size)
    try file.seek(to: size + 100)
    failure(.sizeLimitExceeded) { () throws(TemporaryFileError) in try file.write([2]) }
    failure(.sizeLimitExceeded) { () throws(TemporaryFileError) in try file.resize() }
    try file.write([])
    #expect(try file.position == size + 100 && file.size == size)
    if size > 0 {
      try file.seek(to: -1, from: .end)
      failure(.sizeLimitExceeded) { () throws(TemporaryFileError) in try file.write([2, 2]) }
      #expect(try file.position == size - 1)
      try file.write([1])
    }
    try file.seek(to: 0)
    #expect(try file.readToEnd() == full)
    try file.close()
    failure(.closed) { () throws(TemporaryFileError) in try file.write([2]) }
  }
}
