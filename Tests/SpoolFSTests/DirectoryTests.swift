import TestSupport
import Testing

@testable import SpoolFS

@Suite struct DirectoryTests {
  /// Runs `body` with keys for the names, all made before it.
  private func withKeys(_ names: [FileName], of directory: Directory, _ body: ([NameKey]) -> Void) {
    var keys: [NameKey] = []
    func makeNext() {
      if keys.count == names.count { return body(keys) }
      names[keys.count].withBytes { bytes in
        keys.append(directory.key(for: bytes))
        makeNext()
      }
    }
    makeNext()
  }

  /// Few enough for no index, about as many as need one, and many.
  @Test(arguments: [10, 20, 40, 300])
  func agreesWithADictionaryAfterEachOfManyChanges(names nameCount: Int) {
    let seed = SeededGenerator.testSeed()
    var random = SeededGenerator(seed: seed)
    let names = (0..<nameCount).map { number in
      Array("\(number)".utf8).withUnsafeBytes { FileName.make($0) }
    }
    let directory = Directory()
    var model: [Int: Inode] = [:]
    var cookies: [Int: UInt64] = [:]
    for round in 0..<4000 {
      let grows = (round / (4 * nameCount)).isMultiple(of: 2)
      let chosen = (0..<3).map { _ in Int.random(in: 0..<nameCount, using: &random) }
      // The keys were made when the directory was as it was before the first of three changes.
      withKeys(chosen.map { names[$0] }, of: directory) { keys in
        for (step, (number, key)) in zip(chosen, keys).enumerated() {
          let new = makeInode(UInt64(3 * round + step))
          if model[number] != nil, Int.random(in: 0..<4, using: &random) == 0 {
            #expect(directory.replace(key, with: new) === model[number])
            model[number] = new
          } else if grows == (Int.random(in: 0..<4, using: &random) > 0) {
            if model[number] == nil {
              directory.insert(names[number], key, new)
              model[number] = new
              cookies[number] = nil
            }
          } else {
            #expect(directory.remove(key) === model.removeValue(forKey: number))
            cookies[number] = nil
          }
          #expect(directory.find(key) === model[number])
        }
      }
      #expect(directory.count == model.count, "round \(round), SPOOLFS_SEED=\(seed)")
      expectListing(directory, names, model, &cookies)
    }
    #expect(Set(directory.removeAll().map(\.inode.id)) == Set(model.values.map(\.id)))
    #expect(directory.isEmpty, "SPOOLFS_SEED=\(seed)")
  }

  /// A listing has each name once, from the largest cookie to the smallest, and a cookie stays as long as its name does.
  private func expectListing(
    _ directory: Directory, _ names: [FileName], _ model: [Int: Inode], _ cookies: inout [Int: UInt64]
  ) {
    var listed: [Int: Inode] = [:]
    var last = UInt64.max
    directory.forEach { entry, cookie in
      let number = Int(String(decoding: entry.name.bytes, as: UTF8.self))!
      #expect(listed.updateValue(entry.inode, forKey: number) == nil)
      #expect(cookie < last && cookies[number, default: cookie] == cookie)
      cookies[number] = cookie
      last = cookie
      return true
    }
    // One that goes on where another ended, before the last changes or after them.
    if let pause = cookies.values.min(by: { $0 % 7 < $1 % 7 }) {
      var rest: Set<Int> = []
      directory.forEach(before: pause) { entry, _ in
        rest.insert(Int(String(decoding: entry.name.bytes, as: UTF8.self))!)
        return true
      }
      #expect(rest == Set(cookies.filter { $0.value < pause }.keys))
    }
    #expect(listed.count == model.count && listed.allSatisfy { model[$0.key] === $0.value })
    for (number, name) in names.enumerated() {
      let found = name.withBytes { directory.find(directory.key(for: $0)) }
      if found !== model[number] { Issue.record("\(number) is wrong") }
    }
  }
}
