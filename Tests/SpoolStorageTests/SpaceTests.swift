import SpoolStorage
import SystemPackage
import TestSupport
import Testing

/// What is said of space before a write is what the write then finds.
@Suite struct SpaceTests {
  /// Stores that end at different limits. A function of its own: as one literal the type checker takes minutes.
  private static func makeLimitedStore(_ number: Int) throws -> SpoolStore {
    let page: Int64 = 4096
    switch number {
    case 0: return try makeStore(limit: 100 * page)
    case 1: return try makeStore(threshold: .bytes(0), limit: 100 * page)
    case 2: return try makeStore(threshold: .bytes(60_000), capacity: 90 * page)
    case 3: return try makeStore(threshold: .unlimited, budget: 600_000, capacity: 0)
    case 4: return try makeStore(threshold: .unlimited, budget: 600_000, capacity: 0, limit: 80 * page)
    default: return try makeStore(threshold: .bytes(1 << 20), budget: 200_000, capacity: 40 * page)
    }
  }

  /// Writes, unless there is no space.
  private static func fits(_ bytes: [UInt8], at offset: Int64, in file: FileContent) throws(Errno) -> Bool {
    do throws(Errno) {
      try file.write(bytes, at: offset)
      return true
    } catch .noSpace {
      return false
    }
  }

  @Test(arguments: 0..<6) func aWriteFindsWhatWasSaid(limit: Int) throws {
    var random = SeededGenerator(seed: SeededGenerator.testSeed(limit))
    let store = try Self.makeLimitedStore(limit)
    let files = (0..<4).map { _ in FileContent(store: store) }
    var admitted = 0
    var refused = 0
    for step in 0..<2000 {
      let file = files.randomElement(using: &random)!
      let offset = Int64.random(in: 0..<300_000, using: &random)
      let most = 1 << Int.random(in: 1...16, using: &random)
      let count = Int.random(in: 1...most, using: &random)
      let range = offset..<offset + Int64(count)
      let hasRoom = store.hasRoom(for: file.demand(of: [range], upTo: range.upperBound), beside: ReservedSpace())
      if try Self.fits(pattern(count), at: offset, in: file) {
        admitted += 1
        // Others may be moved to make room, of which nothing is said.
        let isSaid = hasRoom || limit == 5
        #expect(isSaid, "step \(step): \(range) fits although there was no room")
      } else {
        refused += 1
        #expect(!hasRoom, "step \(step): \(range) does not fit although there was room")
      }
      if step % 40 == 39 { try file.resize(to: Int64.random(in: 0..<100_000, using: &random)) }
    }
    #expect(admitted > 100 && refused > 100)
  }

  @Test func whatIsReservedIsNotThere() throws {
    let store = try makeStore(limit: 10 * 4096)
    let file = FileContent(store: store)
    try file.write(pattern(4 * 4096), at: 0)
    let demand = file.demand(of: [0..<5 * 4096], upTo: 5 * 4096)
    #expect(demand.pages == 1)
    #expect(store.hasRoom(for: demand, beside: ReservedSpace(pages: 5)))
    #expect(!store.hasRoom(for: demand, beside: ReservedSpace(pages: 6)))
    let overwrite = file.demand(of: [0..<4 * 4096], upTo: 4 * 4096)
    #expect(store.hasRoom(for: overwrite, beside: ReservedSpace(pages: 100)))
  }

  @Test func spaceIsShortByWhateverEndsFirst() throws {
    let margin: Int64 = 1 << 20
    #expect(try makeStore(limit: 1 << 19).isShort(of: margin))
    #expect(try !makeStore(limit: 1 << 21).isShort(of: margin))
    #expect(try makeStore(threshold: .unlimited, budget: 1 << 19, capacity: 0).isShort(of: margin))
    #expect(try !makeStore(threshold: .unlimited, budget: 1 << 21, capacity: 0).isShort(of: margin))
    #expect(try makeStore(budget: 1 << 21, capacity: 1 << 19).isShort(of: margin))
    #expect(try !makeStore(threshold: .bytes(1 << 10), budget: 1 << 19).isShort(of: margin), "memory is no limit")
    let store = try makeStore(limit: 1 << 21)
    let file = FileContent(store: store)
    try file.allocate(offset: 0, count: 3 << 19, keepingSize: false)
    #expect(store.isShort(of: margin))
    try file.resize(to: 0)
    #expect(!store.isShort(of: margin))
  }
}
