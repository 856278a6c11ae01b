import SystemPackage
import TestSupport
import Testing

@testable import TemporaryFiles

/// An operation of a random script, as `PythonReference` runs it and as a file of ours does.
enum FileOperation: CustomStringConvertible {
  case write(start: Int, count: Int)
  case writeLines(start: Int, count: Int, step: Int)
  case read(Int)
  case readToEnd
  case readLine
  case readLineUpTo(Int)
  case readLines(hint: Int)
  case next
  case seek(Int64, SeekOrigin)
  case tell
  case resize(Int64)
  case resizeHere
  case size
  case flush
  case close

  var description: String {
    switch self {
    case .write(let start, let count): "write \(start) \(count)"
    case .writeLines(let start, let count, let step): "writelines \(start) \(count) \(step)"
    case .read(let count): "read \(count)"
    case .readToEnd: "read"
    case .readLine: "readline"
    case .readLineUpTo(let count): "readline \(count)"
    case .readLines(let hint): "readlines \(hint)"
    case .next: "next"
    case .seek(let offset, let origin): "seek \(offset) \(origin == .start ? 0 : origin == .current ? 1 : 2)"
    case .tell: "tell"
    case .resize(let size): "truncate \(size)"
    case .resizeHere: "truncate"
    case .size: "size"
    case .flush: "flush"
    case .close: "close"
    }
  }

  /// What the operation gives with a file of ours, in Python's terms.
  func perform(on file: inout some ByteFile & ~Copyable) -> PythonReference.Answer {
    do throws(TemporaryFileError) {
      return try answer(of: &file)
    } catch {
      return .exception("\(error)")
    }
  }

  private func answer(
    of file: inout some ByteFile & ~Copyable
  ) throws(TemporaryFileError) -> PythonReference.Answer {
    switch self {
    case .write(let start, let count): try file.write(Array(PythonReference.pattern[start..<start + count]))
    case .writeLines(let start, let count, let step):
      try file.writeLines(
        stride(from: start, to: start + count, by: step).map {
          PythonReference.pattern[$0..<min(start + count, $0 + step)]
        })
    case .read(let count): return .bytes(try file.read(count: count))
    case .readToEnd: return .bytes(try file.readToEnd())
    case .readLine: return .bytes(try file.readLine() ?? [])
    case .readLineUpTo(let count): return .bytes(try file.readLine(maximumCount: count) ?? [])
    case .readLines(let hint):
      let lines = try file.readLines(sizeHint: hint)
      return .list(count: lines.count, Array(lines.joined()))
    case .next:
      guard let line = try file.readLine() else { return .exception("StopIteration") }
      return .bytes(line)
    case .seek(let offset, let origin): return .number(try file.seek(to: offset, from: origin))
    case .tell: return .number(try file.position)
    case .resize(let size):
      try file.resize(to: size)
      return .number(try file.size)
    case .resizeHere:
      try file.resize()
      return .number(try file.size)
    case .size: return .number(try file.size)
    case .flush: try file.flush()
    case .close: try file.close()
    }
    return .nothing
  }
}

/// Random operations around a size that matters: a threshold, or the size of a buffer.
struct FileScript {
  private var random: SeededGenerator
  private let edge: Int
  private let mayClose: Bool

  init(_ random: inout SeededGenerator, edge: Int) {
    self.random = SeededGenerator(seed: random.next())
    self.edge = edge
    mayClose = UInt.random(in: 0..<8, using: &random) == 0
  }

  /// Often exactly the edge, or one beside it.
  private mutating func length() -> Int {
    switch Int.random(in: 0..<8, using: &random) {
    case 0: max(1, edge + Int.random(in: -1...1, using: &random))
    case 1: Int.random(in: 1...edge + 20, using: &random)
    default: Int.random(in: 1...max(2, edge / 4), using: &random)
    }
  }

  private mutating func start(_ count: Int) -> Int {
    Int.random(in: 0..<PythonReference.pattern.count - count, using: &random)
  }

  private mutating func offset() -> Int64 { Int64(Int.random(in: -2...edge + edge / 2 + 4, using: &random)) }

  mutating func operations(_ count: Int) -> [FileOperation] { (0..<count).map { _ in next() } }

  private mutating func next() -> FileOperation {
    switch Int.random(in: 0..<32, using: &random) {
    case 0..<9:
      let count = length()
      return .write(start: start(count), count: count)
    case 9:
      let count = length()
      return .writeLines(start: start(count), count: count, step: Int.random(in: 1...max(2, count), using: &random))
    case 10..<13: return .read(length())
    case 13: return .readToEnd
    case 14, 15: return .readLine
    case 16: return .readLineUpTo(Int.random(in: 0...40, using: &random))
    case 17: return .readLines(hint: Int.random(in: -1...3 * edge, using: &random))
    case 18: return .next
    case 19..<23: return .seek(offset(), .start)
    case 23: return .seek(Int64(Int.random(in: -edge...edge, using: &random)), .current)
    case 24, 25: return .seek(Int64(Int.random(in: -edge...5, using: &random)), .end)
    case 26: return .tell
    case 27: return .resize(offset())
    case 28: return .resizeHere
    case 29: return .size
    case 30: return .flush
    default: return mayClose ? .close : .tell
    }
  }
}
