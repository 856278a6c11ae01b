import TestSupport

/// One step of a random script, applied to two subjects in turn.
enum Operation {
  case become(Int)
  case create(String, mode: UInt32, exclusive: Bool)
  case makeDirectory(String, mode: UInt32)
  case makeNode(String, mode: UInt32, device: UInt64)
  case makeSymlink(String, target: String)
  case readSymlink(String)
  case link(String, String)
  case unlink(String)
  case removeDirectory(String)
  case rename(String, String, flags: UInt32)
  case changeMode(String, UInt32)
  case changeOwner(String, user: UInt32, group: UInt32)
  case setTimes(String, accessed: Int64, modified: Int64)
  case truncate(String, Int64)
  case stat(String)
  case list(String)
  /// Begins to read a directory, goes on with it, and reads the rest: names change in between.
  case openListing(Int, String)
  case readListing(Int, count: Int)
  case endListing(Int)
  case open(Int, String, OpenMode)
  case openUnnamed(Int, String)
  case close(Int)
  case read(Int, count: Int, offset: Int64)
  case write(Int, count: Int, offset: Int64, fill: UInt8)
  case append(Int, count: Int, fill: UInt8)
  case resize(Int, Int64)
  case allocate(Int, mode: Int32, offset: Int64, count: Int64)
  case seek(Int, offset: Int64, whence: Int32)
  case copy(from: Int, Int64, to: Int, Int64, count: Int)
}

extension Operation {
  /// Whether names may come or go with it.
  var changesNames: Bool {
    switch self {
    case .create, .makeDirectory, .makeNode, .makeSymlink, .link, .unlink, .removeDirectory, .rename: true
    default: false
    }
  }
}

extension Operation {
  var isRename: Bool { if case .rename = self { true } else { false } }
}

enum OpenMode: CaseIterable {
  case read, write, readWrite, append, truncate

  var reads: Bool { self == .read || self == .readWrite || self == .truncate }
  var writes: Bool { self != .read }
}

/// What a step answered.
struct Outcome: Equatable, CustomStringConvertible {
  /// The result, or -errno.
  var value: Int64
  var bytes: [UInt8] = []
  var text: String = ""

  var description: String {
    let shown =
      bytes.isEmpty ? "" : " bytes:\(bytes.count)#\(bytes.reduce(into: UInt32(0)) { $0 = $0 &* 31 &+ UInt32($1) })"
    return "\(value)\(shown)\(text.isEmpty ? "" : " " + text)"
  }
}

/// A filesystem that a script can run on.
protocol Subject {
  func perform(_ operation: Operation) -> Outcome
  /// Everything there is, in one comparable text: path, attributes, target, contents.
  func snapshot() -> [String]
}

/// The users that scripts act as; 0 is root.
let scriptUsers: [(user: UInt32, group: UInt32)] = [(0, 0), (1000, 1000), (1001, 1000), (1002, 1002)]

/// Makes scripts over a few names, so that operations meet each other often.
struct ScriptGenerator {
  static let slots = 5
  private static let listings = 3
  private var random: SeededGenerator
  private let users: Int
  private let largestSize: Int64
  /// tmpfs calls pages that were only allocated holes; we call them data. So a script has plain allocations or seeks.
  private let allocates: Bool

  init(seed: UInt64, users: Int, largestSize: Int64, mayAllocate: Bool) {
    random = SeededGenerator(seed: seed)
    self.users = users
    self.largestSize = largestSize
    allocates = mayAllocate && seed % 2 == 0
  }

  private mutating func pick<T>(_ values: [T]) -> T { values.randomElement(using: &random)! }

  private mutating func chance(_ part: Int, of whole: Int) -> Bool { Int.random(in: 0..<whole, using: &random) < part }

  private mutating func name() -> String {
    if chance(1, of: 200) { return String(repeating: "n", count: pick([254, 255, 256])) }
    return pick(["a", "b", "c", "d", "e", "\u{e9}", "e\u{301}"])
  }

  private mutating func path() -> String {
    let depth = pick([1, 1, 1, 2, 2, 3])
    return (0..<depth).map { _ in name() }.joined(separator: "/")
  }

  private mutating func slot() -> Int { Int.random(in: 0..<Self.slots, using: &random) }

  private mutating func listing() -> Int { Int.random(in: 0..<Self.listings, using: &random) }

  private mutating func offset() -> Int64 {
    chance(1, of: 3)
      ? pick([0, 4095, 4096, 4097, 65535, 65536, 65537, 131072]) : Int64.random(in: 0..<largestSize, using: &random)
  }

  private mutating func count() -> Int {
    chance(1, of: 3) ? pick([0, 1, 4096, 8192, 65536]) : Int.random(in: 1..<20_000, using: &random)
  }

  private mutating func mode() -> UInt32 {
    users > 1
      ? UInt32.random(in: 0...0o7777, using: &random)
      : pick([0o600, 0o644, 0o755, 0o4755, 0o2755, 0o6711, 0o2644, 0o1777, 0])
  }

  mutating func next() -> Operation {
    switch Int.random(in: 0..<105, using: &random) {
    case 0..<8: .create(path(), mode: mode(), exclusive: chance(1, of: 2))
    case 8..<16: .makeDirectory(path(), mode: chance(2, of: 3) ? pick([0o755, 0o777, 0o1777, 0o2775]) : mode())
    case 16..<18:
      .makeNode(path(), mode: pick([0o010_644, 0o140_644, 0o020_600, 0o060_600, 0o100_640, 0o644]), device: 0x0103)
    case 18..<22: .makeSymlink(path(), target: target())
    case 22..<24: .readSymlink(path())
    // The kernel's fs.protected_hardlinks is a rule of its own on top of tmpfs's.
    case 24..<28: users > 1 ? .stat(path()) : .link(path(), path())
    case 28..<33: .unlink(path())
    case 33..<36: .removeDirectory(path())
    case 36..<44: .rename(path(), path(), flags: pick([0, 0, 0, 1, 2, 3, 4, 5]))
    case 44..<46: .changeMode(path(), mode())
    case 46..<48: .changeOwner(path(), user: pick([0, 1000, 1001, .max]), group: pick([0, 1000, 1002]))
    case 48..<50:
      .setTimes(
        path(), accessed: pick([1_000_000_001, .min, .max, -5_000_000_000]),
        modified: pick([2_000_000_003, .min, .max]))
    case 50..<52: .truncate(path(), offset())
    case 52..<57: .stat(path())
    case 57..<59: .list(chance(1, of: 3) ? "." : path())
    case 59..<65: .open(slot(), path(), pick(OpenMode.allCases))
    case 65..<66: .openUnnamed(slot(), chance(1, of: 2) ? "." : path())
    case 66..<68: .close(slot())
    case 68..<74: .read(slot(), count: count(), offset: offset())
    case 74..<83: .write(slot(), count: count(), offset: offset(), fill: UInt8.random(in: 1...255, using: &random))
    case 83..<86: .append(slot(), count: count(), fill: UInt8.random(in: 1...255, using: &random))
    case 86..<89: .resize(slot(), offset())
    case 89..<92: space()
    case 92..<95: .copy(from: slot(), offset(), to: slot(), offset(), count: count())
    case 95..<97 where users > 1: .become(Int.random(in: 0..<users, using: &random))
    case 100..<102: .openListing(listing(), chance(1, of: 2) ? "." : path())
    case 102..<104: .readListing(listing(), count: Int.random(in: 1...3, using: &random))
    case 104: .endListing(listing())
    default: allocates ? .stat(path()) : .seek(slot(), offset: offset(), whence: pick([3, 4]))
    }
  }

  private mutating func space() -> Operation {
    let mode: Int32 = allocates ? pick([0, 1, 3]) : 3
    return .allocate(slot(), mode: mode, offset: offset(), count: Int64(max(1, count())))
  }

  private mutating func target() -> String {
    switch Int.random(in: 0..<8, using: &random) {
    case 0: "../" + path()
    case 1: String(repeating: "x/", count: 80) + "y"
    case 2: "."
    case 3: ".."
    default: path()
    }
  }
}
