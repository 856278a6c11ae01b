import Glibc
import SpoolStorage
import SystemPackage
import TestSupport
import Testing

@Suite struct BudgetTests {
  private static let mebibyte: Int64 = 1 << 20

  @Test func `the coldest and largest files leave memory in the background`() throws {
    let store = try makeStore(budget: 32 * Self.mebibyte)
    func makeFile(_ mebibytes: Int, tag: UInt64) throws -> FileContent {
      let file = FileContent(store: store)
      for index in 0..<Int64(mebibytes) {
        try file.write(pattern(1 << 20, at: index << 20, tag: tag), at: index << 20)
      }
      return file
    }
    let coldAndLarge = try makeFile(12, tag: 1)
    let coldAndSmall = try makeFile(1, tag: 2)
    let warm = try makeFile(6, tag: 3)
    var hot: [FileContent] = []
    for index in 0..<7 {
      _ = try warm.read(10)
      hot.append(try makeFile(1, tag: 10 + UInt64(index)))
    }
    // 26 MiB are above 80 %; the low mark of 65 % is below 21 MiB: the first victim is enough.
    #expect(eventually { store.usage.spilledFiles > 0 && store.usage.memoryBytes <= 21 * Self.mebibyte })
    #expect(coldAndLarge.isRolledOver)
    #expect(!coldAndSmall.isRolledOver)
    #expect(!warm.isRolledOver)
    #expect(hot.allSatisfy { !$0.isRolledOver })
    try expect(coldAndLarge, reads: pattern(1 << 20, at: 5 << 20, tag: 1), at: 5 << 20, asking: 1 << 20)
  }

  @Test func `the writer that finds the budget used up goes on on disk`() throws {
    // A budget that nothing in the background could relieve: there is nobody else.
    let store = try makeStore(budget: 4 * Self.mebibyte)
    let file = FileContent(store: store)
    for index in 0..<Int64(16) { try file.write(pattern(1 << 20, at: index << 20), at: index << 20) }
    #expect(file.isRolledOver)
    #expect(store.usage.memoryBytes <= 4 * Self.mebibyte)
    for index in 0..<Int64(16) {
      try expect(file, reads: pattern(1 << 20, at: index << 20), at: index << 20, asking: 1 << 20)
    }
  }

  @Test func `an unlimited file never leaves memory, and gets ENOSPC`() throws {
    let store = try makeStore(threshold: .unlimited, budget: 2 * Self.mebibyte)
    let first = FileContent(store: store)
    let second = FileContent(store: store)
    try first.write(pattern(1 << 20), at: 0)
    try second.write(pattern(1 << 20, tag: 1), at: 0)
    #expect(store.relieveMemory(.max) == 0)
    #expect(throws: Errno.noSpace) { try second.append([1]) }
    #expect(!first.isRolledOver)
    #expect(!second.isRolledOver)
    #expect(second.size == 1 << 20)
    try expect(second, reads: pattern(1 << 20, tag: 1), asking: 2 << 20)
    try first.resize(to: 100)
    try second.append(pattern(900_000))
    #expect(second.size == 1 << 20 + 900_000)
  }

  @Test func `others make room for a file that may not leave memory`() throws {
    let store = try makeStore(budget: 4 * Self.mebibyte)
    let unlimited = FileContent(store: store, threshold: .unlimited)
    var others: [FileContent] = []
    for index in 0..<3 {
      others.append(FileContent(store: store))
      try others[index].write(pattern(1 << 20, tag: UInt64(index)), at: 0)
    }
    for index in 0..<Int64(4) { try unlimited.write(pattern(1 << 20, at: index << 20), at: index << 20) }
    #expect(!unlimited.isRolledOver)
    #expect(others.allSatisfy { $0.isRolledOver })
    for (index, file) in others.enumerated() {
      try expect(file, reads: pattern(1 << 20, tag: UInt64(index)), asking: 2 << 20)
    }
    #expect(throws: Errno.noSpace) { try unlimited.append([1]) }
  }

  @Test func `memory can be asked for from outside`() throws {
    let store = try makeStore(budget: 64 * Self.mebibyte)
    let files = try (0..<8).map { index in
      let file = FileContent(store: store)
      try file.write(pattern(1 << 20, tag: UInt64(index)), at: 0)
      return file
    }
    #expect(store.relieveMemory(3 * Self.mebibyte) == 3 * Self.mebibyte)
    #expect(store.usage.spilledFiles == 3)
    #expect(store.relieveMemory(.max) == 5 * Self.mebibyte)
    #expect(store.relieveMemory(1) == 0)
    for (index, file) in files.enumerated() {
      try expect(file, reads: pattern(1 << 20, tag: UInt64(index)), asking: 2 << 20)
    }
  }

  @Test func `many small files share one budget`() throws {
    let store = try makeStore(budget: 8 * Self.mebibyte)
    do {
      var files: [FileContent] = []
      for index in 0..<3000 {
        let file = FileContent(store: store)
        try file.write(pattern(5000, tag: UInt64(index)), at: 0)
        files.append(file)
        #expect(store.usage.memoryBytes <= 8 * Self.mebibyte)
      }
      for (index, file) in files.enumerated() { #expect(try file.read(6000) == pattern(5000, tag: UInt64(index))) }
      #expect(store.usage.spilledFiles > 1000)
    }
    expectNothingUsed(store)
  }

  @Test(.enabled(if: descriptorLimit > 11_000, "files on disk take more descriptors than this process may have"))
  func `ten thousand open files of mixed sizes keep their bytes and the budget`() async {
    await #expect(processExitsWith: .success) {
      let budget = 64 * Self.mebibyte
      let store = try makeStore(budget: budget)
      var random = SeededGenerator(seed: 10_000)
      let sizes = (0..<10_000).map { _ in Int.random(in: 1024...65_536, using: &random) }
      do {
        var files: [FileContent] = []
        var highest: Int64 = 0
        for (index, size) in sizes.enumerated() {
          let file = FileContent(store: store)
          let bytes = pattern(size, tag: UInt64(index))
          try file.write(Array(bytes.prefix(1000)), at: 0)
          try file.append(Array(bytes.dropFirst(1000)))
          highest = max(highest, store.usage.memoryBytes)
          files.append(file)
        }
        #expect(highest <= budget)
        #expect(store.usage.memoryBytes > budget / 2)
        #expect(store.usage.failedRollovers == 0)
        for (index, file) in files.enumerated() {
          let bytes = try file.read(70_000)
          if !isEqual(bytes, pattern(sizes[index], tag: UInt64(index))) { Issue.record("file \(index)") }
        }
      }
      expectNothingUsed(store)
    }
  }

  @Test func `spilling that fails is not tried without end, and works again later`() throws {
    let store = try makeStore(budget: 8 * Self.mebibyte, capacity: 2 * Self.mebibyte)
    let blocker = FileContent(store: store)
    try blocker.write(pattern(2 << 20), at: 0)
    try blocker.rollOver()
    let file = FileContent(store: store)
    for index in 0..<Int64(7) { try file.write(pattern(1 << 20, at: index << 20), at: index << 20) }
    let second = FileContent(store: store)
    try second.write(pattern(1 << 20), at: 0)
    #expect(throws: Errno.noSpace) { try second.append(pattern(1 << 20)) }
    #expect(store.usage.memoryBytes == 8 * Self.mebibyte)
    // Too large for the disk: passed over, without a try for each.
    #expect(store.usage.failedRollovers < 50)
    try blocker.resize(to: 0)
    try second.append(pattern(1 << 20, at: 1 << 20))
    try expect(second, reads: pattern(2 << 20), asking: 3 << 20)
    #expect(second.isRolledOver)
  }
}

/// How many descriptors a store will find.
private let descriptorLimit: UInt = {
  var limit = rlimit()
  getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
  return limit.rlim_max
}()
