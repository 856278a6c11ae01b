import CSpoolSystem
import Glibc
import SpoolStorage
import SystemPackage
import TestSupport
import Testing

@Suite struct DescriptorTests {
  private static let contents: [Int] = [0, 1, 5000, 32_768, 100_000, 1 << 20]

  @Test(arguments: contents, [false, true])
  func `the descriptor has the file's bytes, and stays the same file for life`(size: Int, onDisk: Bool) throws {
    let store = try makeStore()
    do {
      let file = FileContent(store: store)
      try file.write(pattern(size), at: 0)
      if onDisk { try file.rollOver() }
      #expect(!file.isExposed)
      let descriptor = try file.exposeDescriptor()
      #expect(file.isExposed)
      #expect(file.isRolledOver)
      #expect(file.bytesInMemory == 0)
      #expect(store.usage.memoryBytes == 0)
      #expect(store.usage.rollovers == 1)
      #expect(fcntl(descriptor, F_GETFD) == FD_CLOEXEC)
      #expect(lseek(descriptor, 0, SEEK_CUR) == 0)
      #expect(isEqual(read(descriptor, size + 10), pattern(size)))
      try expect(file, reads: pattern(size), asking: size + 10)
      let inode = status(descriptor).st_ino
      try file.resize(to: 0)
      #expect(file.isRolledOver)
      try file.append([1, 2, 3])
      try file.rollOver()
      #expect(try file.exposeDescriptor() == descriptor)
      #expect(status(descriptor).st_ino == inode)
      #expect(read(descriptor, 10) == [1, 2, 3])
    }
    expectNothingUsed(store)
  }

  @Test func `sparse regions past 4 GiB are holes of the descriptor, and searching leaves its offset alone`() throws {
    let store = try makeStore()
    do {
      let file = FileContent(store: store)
      try file.write(pattern(5000, at: 1 << 20), at: 1 << 20)
      try file.write(pattern(10, at: 5 << 30), at: 5 << 30)
      try file.resize(to: 6 << 30)
      let allocated = file.allocatedBytes
      let layout = try runs(of: file)
      #expect(layout.count == 2)
      let descriptor = try file.exposeDescriptor()
      #expect(status(descriptor).st_size == 6 << 30)
      #expect(lseek(descriptor, 12_345, SEEK_SET) == 12_345)
      #expect(try runs(of: file) == layout)
      #expect(lseek(descriptor, 0, SEEK_CUR) == 12_345)
      // Filesystems count blocks of their own on top.
      #expect((allocated...allocated + 65_536).contains(file.allocatedBytes))
      #expect(read(descriptor, 5000, at: 1 << 20) == pattern(5000, at: 1 << 20))
      #expect(pwrite(descriptor, [7], 1, 7 << 30) == 1)
      #expect(file.size == 7 << 30 + 1)
      #expect(try file.read(10, at: 7 << 30) == [7])
      #expect(try file.seekData(from: 5 << 30 + 4096) == 7 << 30)
      #expect(try file.seekHole(from: 7 << 30) == file.size)
      #expect(throws: Errno.noSuchAddressOrDevice) { try file.seekData(from: file.size) }
      #expect(throws: Errno.noSuchAddressOrDevice) { try file.seekHole(from: -1) }
      #expect(try file.read(10, at: .max) == [])
      try file.punchHole(offset: 0, count: 6 << 30)
      #expect(try file.seekData(from: 0) == 7 << 30)
    }
    expectNothingUsed(store)
  }

  private func runs(of file: FileContent) throws -> [Range<Int64>] {
    var runs: [Range<Int64>] = []
    var position: Int64 = 0
    while let data = try? file.seekData(from: position) {
      position = try file.seekHole(from: data)
      runs.append(data..<position)
    }
    return runs
  }

  @Test func `a file that is cut or grown through the descriptor is seen so`() throws {
    let file = FileContent(store: try makeStore())
    try file.write(pattern(100_000), at: 0)
    let descriptor = try file.exposeDescriptor()
    #expect(ftruncate(descriptor, 50) == 0)
    #expect(file.size == 50)
    try expect(file, reads: pattern(50), asking: 1000)
    #expect(try file.append([1]) == 50)
    #expect(pwrite(descriptor, pattern(300_000, tag: 1), 300_000, 51) == 300_000)
    #expect(try file.append([2]) == 300_051)
    try expect(file, reads: pattern(50) + [1] + pattern(300_000, tag: 1) + [2], asking: 400_000)
    #expect(ftruncate(descriptor, 0) == 0)
    try file.write([9], at: 3)
    #expect(read(descriptor, 10) == [0, 0, 0, 9])
  }

  /// Whoever changes the file, both see the same bytes.
  @Test func `any sequence of changes from both sides gives the bytes of an array`() throws {
    let seed = SeededGenerator.testSeed()
    var random = SeededGenerator(seed: seed)
    let store = try makeStore()
    for round in 0..<30 {
      let file = FileContent(store: store)
      var model = pattern(Int.random(in: 0...200_000, using: &random))
      try file.write(model, at: 0)
      let descriptor = try file.exposeDescriptor()
      for step in 0..<40 {
        let name = try change(file, descriptor, &model, &random)
        let bytes = try file.read(model.count + 10)
        try #require(
          file.size == Int64(model.count) && isEqual(bytes, model)
            && isEqual(read(descriptor, model.count + 10), model),
          "SPOOLFS_SEED=\(seed) round \(round) step \(step) \(name)")
      }
    }
    expectNothingUsed(store)
  }

  private func change(
    _ file: FileContent, _ descriptor: CInt, _ model: inout [UInt8], _ random: inout SeededGenerator
  ) throws -> String {
    let start = Int.random(in: 0...250_000, using: &random)
    let count = Int.random(in: 1...60_000, using: &random)
    let bytes = pattern(count, at: Int64(start), tag: random.next() % 65_521)
    let keeping = Bool.random(using: &random)
    func grow(to size: Int) { model += [UInt8](repeating: 0, count: max(0, size - model.count)) }
    func clear() {
      let end = min(model.count, start + count)
      for index in min(start, end)..<end { model[index] = 0 }
    }
    switch Int.random(in: 0..<9, using: &random) {
    case 0, 1:
      grow(to: start + count)
      model.replaceSubrange(start..<start + count, with: bytes)
      if keeping {
        try file.write(bytes, at: Int64(start))
        return "write \(start) \(count)"
      }
      #expect(pwrite(descriptor, bytes, count, off_t(start)) == count)
      return "pwrite \(start) \(count)"
    case 2:
      #expect(try file.append(bytes) == Int64(model.count))
      model += bytes
      return "append \(count)"
    case 3, 4:
      grow(to: start)
      model.removeLast(model.count - start)
      if keeping { try file.resize(to: Int64(start)) } else { #expect(ftruncate(descriptor, off_t(start)) == 0) }
      return "resize \(start)"
    case 5:
      try file.punchHole(offset: Int64(start), count: Int64(count))
      clear()
      return "punch \(start) \(count)"
    case 6:
      try file.zeroRange(offset: Int64(start), count: Int64(count), keepingSize: keeping)
      clear()
      if !keeping { grow(to: start + count) }
      return "zero \(start) \(count) \(keeping)"
    case 7:
      try file.allocate(offset: Int64(start), count: Int64(count), keepingSize: keeping)
      if !keeping { grow(to: start + count) }
      return "allocate \(start) \(count) \(keeping)"
    default:
      spool_fallocate(descriptor, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off_t(start), off_t(count))
      clear()
      return "fallocate \(start) \(count)"
    }
  }

  @Test func `limits count what came through the descriptor, and all of it is returned`() throws {
    let store = try makeStore(limit: 400 * 4096)
    do {
      let file = FileContent(store: store)
      let other = FileContent(store: store)
      try file.write(pattern(10 * 4096), at: 0)
      let descriptor = try file.exposeDescriptor()
      #expect(throws: Errno.noSpace) { try file.write(pattern(400 * 4096), at: 4096) }
      #expect(throws: Errno.noSpace) { try file.allocate(offset: 0, count: 401 * 4096, keepingSize: true) }
      #expect(file.size == 10 * 4096)
      // Behind the store's back, and past the limit.
      let bytes = pattern(450 * 4096, tag: 1)
      #expect(pwrite(descriptor, bytes, bytes.count, 0) == bytes.count)
      try file.write([1], at: 0)
      #expect(store.usage.dataBytes >= 450 * 4096)
      #expect(store.usage.dataBytes == file.allocatedBytes)
      #expect(store.usage.diskBytes == file.allocatedBytes)
      #expect(throws: Errno.noSpace) { try other.write([1], at: 0) }
      #expect(throws: Errno.noSpace) { try file.append(pattern(4096)) }
      // What is there may be overwritten.
      try file.write(pattern(450 * 4096, tag: 2), at: 0)
      #expect(ftruncate(descriptor, 4096) == 0)
      try file.write([1], at: 0)
      #expect(store.usage.dataBytes < 300 * 4096)
      try other.write(pattern(100 * 4096), at: 0)
      try file.resize(to: 0)
      #expect(file.allocatedBytes <= 65_536)
    }
    expectNothingUsed(store)
  }

  @Test func `without space for the file it stays in memory`() throws {
    for store in [try makeStore(threshold: .unlimited, capacity: 0), try makeStore(capacity: 20 * 4096)] {
      let file = FileContent(store: store)
      try file.write(pattern(100_000), at: 0)
      #expect(throws: Errno.noSpace) { try file.exposeDescriptor() }
      #expect(!file.isExposed)
      #expect(!file.isRolledOver)
      try file.append([1])
      try expect(file, reads: pattern(100_000) + [1], asking: 200_000)
      #expect(store.usage.diskBytes == 0)
    }
  }

  @Test func `without a descriptor for the file it stays in memory`() async {
    await #expect(processExitsWith: .success) {
      let file = FileContent(store: try makeStore())
      try file.write(pattern(5000), at: 0)
      var limit = rlimit(rlim_cur: 64, rlim_max: 64)
      setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
      var last: CInt = -1
      while case let descriptor = dup(0), descriptor >= 0 { last = descriptor }
      #expect(throws: Errno.tooManyOpenFiles) { try file.exposeDescriptor() }
      #expect(!file.isExposed)
      #expect(!file.isRolledOver)
      try expect(file, reads: pattern(5000), asking: 6000)
      close(last)
      let descriptor = try file.exposeDescriptor()
      #expect(read(descriptor, 6000) == pattern(5000))
      // Holes need a descriptor for a moment; without one all is data.
      try file.resize(to: 100_000)
      #expect(try file.seekData(from: 50_000) == 50_000)
      #expect(try file.seekHole(from: 0) == 100_000)
    }
  }

  @Test func `a write that fails takes nothing away that came through the descriptor`() async {
    await #expect(processExitsWith: .success) {
      signal(SIGXFSZ, SIG_IGN)
      let store = try makeStore()
      let file = FileContent(store: store)
      let descriptor = try file.exposeDescriptor()
      #expect(pwrite(descriptor, pattern(250_000), 250_000, 0) == 250_000)
      var limit = rlimit(rlim_cur: 300_000, rlim_max: 300_000)
      setrlimit(__rlimit_resource_t(RLIMIT_FSIZE.rawValue), &limit)
      #expect(throws: Errno.fileTooLarge) { try file.write(pattern(250_000, at: 200_000), at: 200_000) }
      #expect(throws: Errno.fileTooLarge) { try file.resize(to: 300_001) }
      #expect(file.size >= 250_000)
      try expect(file, reads: pattern(250_000), asking: 250_000)
      #expect(store.usage.diskBytes == file.allocatedBytes)
    }
  }

  @Test func `a child process writes to the descriptor that it inherits`() throws {
    let file = FileContent(store: try makeStore())
    try file.write(pattern(1000), at: 0)
    let descriptor = try file.exposeDescriptor()
    #expect(lseek(descriptor, 1000, SEEK_SET) == 1000)
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_adddup2(&actions, descriptor, 1)
    var child = pid_t()
    let words = ["/bin/sh", "-c", "printf 'from the child'"]
    let arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) } + [nil]
    defer { for argument in arguments { free(argument) } }
    #expect(posix_spawn(&child, "/bin/sh", &actions, nil, arguments, environ) == 0)
    var result: CInt = -1
    #expect(waitpid(child, &result, 0) == child)
    #expect(result == 0)
    #expect(file.size == 1014)
    try expect(file, reads: pattern(1000) + Array("from the child".utf8), asking: 2000)
    // The offset is shared with the child, as after fork(2).
    #expect(lseek(descriptor, 0, SEEK_CUR) == file.size)
  }

  @Test func `reads and writes from many threads on both sides keep every byte`() throws {
    let store = try makeStore()
    let complaints = Complaints()
    do {
      let file = FileContent(store: store)
      try file.write(pattern(400_000), at: 0)
      runThreads(4) { number in
        guard let descriptor = try? file.exposeDescriptor() else { return complaints.add("not exposed") }
        for round in 0..<500 {
          let offset = Int64((round * 7919 + number * 100_003) % 380_000)
          let bytes = pattern(20_000, at: offset)
          switch (number + round) % 4 {
          case 0: if (try? file.write(bytes, at: offset)) != 20_000 { complaints.add("write") }
          case 1: if pwrite(descriptor, bytes, 20_000, off_t(offset)) != 20_000 { complaints.add("pwrite") }
          case 2: if !isEqual((try? file.read(20_000, at: offset)) ?? [], bytes) { complaints.add("read") }
          default: if !isEqual(read(descriptor, 20_000, at: offset), bytes) { complaints.add("pread") }
          }
          if file.size != 400_000 { complaints.add("size \(file.size)") }
        }
      }
    }
    #expect(complaints.all == [])
    expectNothingUsed(store)
  }
}

private func status(_ descriptor: CInt) -> stat {
  var status = stat()
  fstat(descriptor, &status)
  return status
}

private func read(_ descriptor: CInt, _ count: Int, at offset: Int64 = 0) -> [UInt8] {
  [UInt8](unsafeUninitializedCapacity: count) { buffer, length in
    length = max(0, pread(descriptor, buffer.baseAddress, count, off_t(offset)))
  }
}
