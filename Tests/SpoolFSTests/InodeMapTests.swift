import TestSupport
import Testing

@testable import SpoolFS

@Suite struct InodeMapTests {
  @Test func agreesWithADictionaryAfterEachOfManyChanges() {
    let seed = SeededGenerator.testSeed()
    var random = SeededGenerator(seed: seed)
    var map = InodeMap()
    var dictionary: [UInt64: Inode] = [:]
    for round in 0..<20_000 {
      // Numbers that mostly follow each other, and some that meet in one place.
      let id =
        round % 7 == 0
        ? UInt64.random(in: 0..<8, using: &random) << 40 : 64 * UInt64.random(in: 0..<900, using: &random)
      // More of them for a while, then fewer, so that the map grows and shrinks.
      if (round / 2000).isMultiple(of: 2) == (Int.random(in: 0..<4, using: &random) > 0) {
        if dictionary[id] == nil {
          let new = makeInode(id)
          dictionary[id] = new
          map.insert(new)
        }
      } else {
        #expect(map.remove(id) === dictionary.removeValue(forKey: id))
      }
      #expect(map.count == dictionary.count && map.find(id) === dictionary[id], "SPOOLFS_SEED=\(seed)")
      if round % 500 == 0 { #expect(dictionary.allSatisfy { map.find($0.key) === $0.value }) }
    }
    #expect(Set(map.removeAll().map(\.id)) == Set(dictionary.keys))
    #expect(map.count == 0 && map.find(64) == nil && map.remove(64) == nil)
  }
}
