import CHostCalls
import Foundation
import SystemPackage
import TestSupport
import Testing

@testable import SpoolFS

/// Directories that are read piece by piece while names come and go in them.
extension MountSuites {
  @Suite(.serialized, .kernelRing) struct ListingTests {
    private static let count = 120
    /// One entry at a time, a few, and what readdir(3) takes.
    private static let bufferSizes = [40, 280, 32_768]

    private func fill(_ tree: MountedTree) throws {
      for number in 0..<Self.count { try Host.create(tree("f\(number)")) }
    }

    private func expectedNames(_ name: (Int) -> String) -> [String] { (0..<Self.count).map(name).sorted() }

    /// Runs `body` on each entry, and fails where there are more than a listing that ends can have.
    private func forEach(in path: String, bufferSize: Int, _ body: (String) throws -> Void) throws {
      let listing = try Listing(path, size: bufferSize)
      var met = 0
      while let entry = try listing.next() {
        met += 1
        if met > 2 * Self.count { throw NeverHappened() }
        try body(entry.name)
      }
    }

    @Test(arguments: Way.all, bufferSizes)
    func entriesThatAreRenamedAreMetOnce(_ way: Way, bufferSize: Int) async throws {
      try await withMount(options: way.options) { tree in
        try fill(tree)
        var met: [String] = []
        try forEach(in: tree.path, bufferSize: bufferSize) { name in
          met.append(name)
          try Host.rename(tree(name), tree(name + ".x"))
        }
        #expect(met.sorted() == expectedNames { "f\($0)" })
        #expect(try Host.names(tree.path) == expectedNames { "f\($0).x" })
      }
    }

    @Test(arguments: Way.all, bufferSizes)
    func entriesThatAreMadeMeanwhileDoNotKeepItGoing(_ way: Way, bufferSize: Int) async throws {
      try await withMount(options: way.options) { tree in
        try fill(tree)
        var met: [String] = []
        try forEach(in: tree.path, bufferSize: bufferSize) { name in
          met.append(name)
          try Host.create(tree("new\(met.count)"))
        }
        #expect(met.filter { !$0.hasPrefix("new") }.sorted() == expectedNames { "f\($0)" })
        #expect(Set(met).count == met.count)
      }
    }

    @Test(arguments: Way.all, bufferSizes)
    func everythingIsFoundToBeRemoved(_ way: Way, bufferSize: Int) async throws {
      try await withMount(options: way.options) { tree in
        try fill(tree)
        try forEach(in: tree.path, bufferSize: bufferSize) { name in try Host.unlink(tree(name)) }
        #expect(try Host.names(tree.path) == [])
      }
    }

    /// Python's scandir reads as it goes.
    @Test(arguments: Way.all) func pythonRenamesWhatItFinds(_ way: Way) async throws {
      try await withMount(options: way.options) { tree in
        for name in ["a", "b", "c"] { try Host.create(tree(name)) }
        let program = """
          import os, sys
          os.chdir(sys.argv[1])
          done = 0
          for entry in os.scandir("."):
              os.rename(entry.name, entry.name + ".x")
              done += 1
              if done > 100: break
          print(done)
          """
        #expect(try python(program, tree.path) == "3")
        #expect(try Host.names(tree.path) == ["a.x", "b.x", "c.x"])
      }
    }

    /// Some of the changes are made in this process.
    @Test(arguments: Way.all) func whatStaysIsListedOnceWhateverElseChanges(_ way: Way) async throws {
      let seed = SeededGenerator.testSeed()
      try await withMount(options: way.options) { tree in
        try listWhileChanged(tree.path, seed: seed) { change in
          switch change {
          case .create(let name): try tree.files.write([], to: FilePath(name))
          case .unlink(let name): try tree.files.remove(FilePath(name))
          case .rename(let old, let new): try tree.files.rename(FilePath(old), to: FilePath(new))
          }
        }
      }
    }
  }
}

private enum Change {
  case create(String)
  case unlink(String)
  case rename(String, String)

  func perform(in path: String) throws {
    switch self {
    case .create(let name): try Host.create(path + "/" + name)
    case .unlink(let name): try Host.unlink(path + "/" + name)
    case .rename(let old, let new): try Host.rename(path + "/" + old, path + "/" + new)
    }
  }
}

/// One of several that read the same directory at their own pace.
private struct Reader {
  let listing: Listing
  /// What was there when it began, by inode, and is still.
  var staying: [String: UInt64]
  var seen: [String: Int] = [:]
  /// A place to go back to, and what had been seen then.
  var bookmark: (offset: Int64, seen: [String: Int])?

  mutating func read(_ count: Int, mark: Bool) throws -> Bool {
    for _ in 0..<count {
      guard let entry = try listing.next() else { return false }
      seen[entry.name, default: 0] += 1
      if mark { bookmark = (entry.offset, seen) }
    }
    return true
  }
}

/// Random changes of a directory that is read at several places meanwhile. What stays from the beginning of a listing to
/// its end is in it once, and nothing is in it twice that was not made twice.
private func listWhileChanged(
  _ path: String, seed: UInt64, _ performOtherwise: (Change) throws -> Void
) throws {
  var random = SeededGenerator(seed: seed)
  var present: [String: UInt64] = [:]
  var readers: [Reader] = []
  let names = (0..<60).map { "n\($0)" }
  let sizes = [40, 280, 1000, 32_768]
  var finished = 0

  func perform(_ change: Change) throws {
    if Int.random(in: 0..<4, using: &random) == 0 {
      try performOtherwise(change)
    } else {
      try change.perform(in: path)
    }
  }

  func change() throws {
    let name = names.randomElement(using: &random)!
    let other = names.randomElement(using: &random)!
    if present[name] == nil {
      try perform(.create(name))
      present[name] = try Host.status(path + "/" + name).inode
    } else if name != other, Int.random(in: 0..<3, using: &random) > 0 {
      try perform(.rename(name, other))
      present[other] = present.removeValue(forKey: name)
    } else {
      try perform(.unlink(name))
      present[name] = nil
    }
    for index in readers.indices {
      readers[index].staying = readers[index].staying.filter { present[$0.key] == $0.value }
    }
  }

  for _ in 0..<SeededGenerator.operations(4000) {
    switch Int.random(in: 0..<10, using: &random) {
    case 0 where readers.count < 4:
      let listing = try Listing(path, size: sizes.randomElement(using: &random)!)
      readers.append(Reader(listing: listing, staying: present))
    case 1...4 where !readers.isEmpty:
      let index = readers.indices.randomElement(using: &random)!
      let marks = Int.random(in: 0..<4, using: &random) == 0
      if try readers[index].read(Int.random(in: 1...9, using: &random), mark: marks) { continue }
      let reader = readers.remove(at: index)
      for name in reader.staying.keys where reader.seen[name] != 1 {
        Issue.record("\(name) was listed \(reader.seen[name] ?? 0) times: SPOOLFS_SEED=\(seed)")
        return
      }
      finished += 1
    case 5 where !readers.isEmpty:
      let index = readers.indices.randomElement(using: &random)!
      guard let bookmark = readers[index].bookmark else { continue }
      try readers[index].listing.seek(to: bookmark.offset)
      readers[index].seen = bookmark.seen
    default: try change()
    }
  }
  #expect(finished > 50, "too few listings came to their end")
}
