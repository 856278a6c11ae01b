import CSpoolSystem
import Glibc
import SystemPackage
import TestSupport
import Testing

@testable import SpoolStorage

/// Faults that concern a whole process happen in a process of their own.
@Suite struct FaultTests {
  @Test func `a spill directory that was removed leaves files in memory`() throws {
    let store: SpoolStore
    do {
      let scratch = ScratchDirectory()
      store = try makeStore(threshold: .bytes(100_000), directory: scratch.path)
    }
    let file = FileContent(store: store)
    try file.write(pattern(100_000), at: 0)
    #expect(throws: Errno.noSuchFileOrDirectory) { try file.append([1]) }
    #expect(throws: Errno.noSuchFileOrDirectory) { try file.rollOver() }
    #expect(throws: Errno.noSuchFileOrDirectory) { try file.resize(to: 100_001) }
    #expect(throws: Errno.noSuchFileOrDirectory) { try file.allocate(offset: 0, count: 100_001, keepingSize: true) }
    #expect(!file.isRolledOver)
    #expect(file.size == 100_000)
    #expect(store.usage.diskBytes == 0)
    #expect(store.usage.failedRollovers == 4)
    try expect(file, reads: pattern(100_000), asking: 200_000)
    try file.write(pattern(100_000, tag: 1), at: 0)
    try expect(file, reads: pattern(100_000, tag: 1), asking: 200_000)
  }

  @Test func `a process out of descriptors loses nothing and goes on when it has some`() async {
    await #expect(processExitsWith: .success) {
      let store = try makeStore(threshold: .bytes(5000))
      let file = FileContent(store: store)
      try file.write(pattern(5000), at: 0)
      var held: [Int32] = []
      var limit = rlimit(rlim_cur: 64, rlim_max: 64)
      setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
      while true {
        let descriptor = dup(0)
        if descriptor < 0 { break }
        held.append(descriptor)
      }
      #expect(throws: Errno.tooManyOpenFiles) { try file.append([1]) }
      #expect(!file.isRolledOver)
      try expect(file, reads: pattern(5000), asking: 6000)
      close(held.removeLast())
      try file.append([1])
      #expect(file.isRolledOver)
      try expect(file, reads: pattern(5000) + [1], asking: 6000)
    }
  }

  /// Whoever takes a mount away needs some, and programs that write to it know nothing of ours.
  @Test func `files on disk leave the descriptors that are reserved, and are out of space then`() async {
    await #expect(processExitsWith: .success) {
      var limit = rlimit(rlim_cur: 200, rlim_max: 200)
      setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
      let store = try makeStore(threshold: .bytes(5000))
      let told = Told()
      store.setRefusalObserver { told.add($0, $1) }
      store.reserveDescriptors(64)
      var files: [FileContent] = []
      var last: FileContent?
      while last == nil {
        let file = FileContent(store: store)
        try file.write(pattern(5000, tag: UInt64(files.count)), at: 0)
        do throws(Errno) {
          try file.append([1])
          files.append(file)
          if files.count > 200 { break }
        } catch {
          #expect(error == .noSpace)
          last = file
        }
      }
      let refused = try #require(last)
      #expect(files.count > 100 && files.count <= 200 - 64)
      #expect(throws: Errno.noSpace) { try refused.rollOver() }
      #expect(!refused.isRolledOver && store.usage.spilledFiles == files.count && store.usage.diskRefusals == 0)
      try expect(refused, reads: pattern(5000, tag: UInt64(files.count)), asking: 6000)
      #expect(told.all == [ObjectIdentifier(refused): [.tooManyOpenFiles]])
      // They are there.
      let free = (0..<60).map { _ in dup(0) }
      #expect(free.allSatisfy { $0 >= 0 })
      for descriptor in free { close(descriptor) }
      files.removeLast()
      try refused.append([1])
      #expect(refused.isRolledOver)
    }
  }

  private final class Told: @unchecked Sendable {
    // @unchecked: `lock` protects the variable.
    private let lock = Lock()
    private var errors: [ObjectIdentifier: [Errno]] = [:]

    func add(_ file: ObjectIdentifier, _ error: Errno) { lock.withLock { errors[file, default: []].append(error) } }

    var all: [ObjectIdentifier: [Errno]] { lock.withLock { errors } }
  }

  @Test(arguments: [false, true])
  func `a disk that takes only part of a move or a write changes nothing`(encrypts: Bool) async {
    await #expect(processExitsWith: .success) { [encrypts = encrypts as Bool] in
      // Beyond this size the kernel refuses to write: the move fails in its middle.
      signal(SIGXFSZ, SIG_IGN)
      var limit = rlimit(rlim_cur: 299_008, rlim_max: 299_008)
      setrlimit(__rlimit_resource_t(RLIMIT_FSIZE.rawValue), &limit)
      let store = try makeStore(encrypts: encrypts)
      let file = FileContent(store: store)
      try file.write(pattern(200_000), at: 0)
      try file.write(pattern(200_000, at: 200_000), at: 200_000)
      #expect(throws: Errno.fileTooLarge) { try file.rollOver() }
      #expect(!file.isRolledOver)
      try expect(file, reads: pattern(400_000), asking: 500_000)
      // On disk: the write fails in its middle.
      try file.resize(to: 250_000)
      try file.punchHole(offset: 100_000, count: 100_000)
      try file.rollOver()
      let before = (file.allocatedBytes, try file.seekHole(from: 0), try file.seekData(from: 110_000))
      #expect(throws: Errno.fileTooLarge) { try file.write(pattern(250_000, tag: 9), at: 90_000) }
      #expect(file.size == 250_000)
      #expect(before == (file.allocatedBytes, try file.seekHole(from: 0), try file.seekData(from: 110_000)))
      #expect(throws: Errno.fileTooLarge) { try file.resize(to: 299_009) }
      #expect(file.size == 250_000)
      try file.resize(to: 299_008)
      var expected = pattern(250_000) + [UInt8](repeating: 0, count: 49_008)
      expected.replaceSubrange(100_000..<200_000, with: [UInt8](repeating: 0, count: 100_000))
      try expect(file, reads: expected, asking: 400_000)
    }
  }

  @Test(arguments: [true, false])
  func `a process killed in the middle of a move leaves nothing in the spill directory`(unnamed: Bool) async {
    let scratch = ScratchDirectory()
    let path = scratch.path.string
    await #expect(processExitsWith: .signal(SIGKILL)) { [path = path as String, unnamed = unnamed as Bool] in
      let directory = try SpillDirectory(FilePath(path), unnamed: unnamed)
      let store = try SpoolStore(
        SpoolConfiguration(threshold: .bytes(1 << 30), memoryBudget: 1 << 30), directory: directory)
      let file = FileContent(store: store)
      for index in 0..<Int64(64) { try file.write(pattern(1 << 20, at: index << 20), at: index << 20) }
      runThreads(2) { number in
        if number == 0 {
          try? file.rollOver()
        } else {
          while store.usage.rolloverBytes < 8 << 20, store.usage.failedRollovers == 0 {}
          kill(getpid(), SIGKILL)
        }
      }
    }
    #expect(scratch.names == [])
  }

  @Test func `the background thread ends with its store`() async {
    await #expect(processExitsWith: .success) {
      func threads() -> Int {
        guard let directory = opendir("/proc/self/task") else { return -1 }
        defer { closedir(directory) }
        var count = 0
        while let entry = readdir(directory) {
          let name = withUnsafePointer(to: &entry.pointee.d_name) {
            $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
          }
          if contentsOfSystemFile("/proc/self/task/\(name)/comm") == "spool-spiller\n" { count += 1 }
        }
        return count
      }
      #expect(threads() == 0)
      var store: SpoolStore? = try makeStore(budget: 4 << 20)
      #expect(threads() == 0)
      do {
        let file = FileContent(store: store!)
        try file.write(pattern(4 << 20), at: 0)
        #expect(eventually { file.isRolledOver })
        #expect(threads() == 1)
      }
      store = nil
      #expect(eventually { threads() == 0 })
    }
  }

  @Test(.enabled(if: geteuid() == 0, "mounting needs root"), arguments: [false, true])
  func `a full disk changes nothing, and what is freed is usable`(encrypts: Bool) async {
    let scratch = ScratchDirectory()
    let path = scratch.path.string
    await #expect(processExitsWith: .success) { [path = path as String, encrypts = encrypts as Bool] in
      #expect(mount("tmpfs", path, "tmpfs", 0, "size=1m") == 0)
      let store = try makeStore(threshold: .bytes(600_000), directory: FilePath(path), encrypts: encrypts)
      // The store holds the directory; no mount stays behind, whatever comes.
      #expect(umount2(path, Int32(MNT_DETACH)) == 0)
      #expect(store.spillDirectoryIsMemoryBacked)
      let first = FileContent(store: store)
      try first.write(pattern(600_000), at: 0)
      try first.rollOver()
      let second = FileContent(store: store)
      try second.write(pattern(500_000, tag: 2), at: 0)
      #expect(throws: Errno.noSpace) { try second.rollOver() }
      #expect(throws: Errno.noSpace) { try second.resize(to: 600_001) }
      #expect(!second.isRolledOver)
      try expect(second, reads: pattern(500_000, tag: 2), asking: 600_000)
      try first.punchHole(offset: 4096, count: 200_000)
      let hole = try first.seekHole(from: 0)
      #expect(throws: Errno.noSpace) { try first.write(pattern(1_200_000, tag: 3), at: 0) }
      #expect(throws: Errno.noSpace) { try first.allocate(offset: 0, count: 1_200_000, keepingSize: true) }
      #expect(first.size == 600_000)
      #expect(try first.seekHole(from: 0) == hole)
      var expected = pattern(600_000)
      expected.replaceSubrange(4096..<204_096, with: [UInt8](repeating: 0, count: 200_000))
      try expect(first, reads: expected, asking: 700_000)
      #expect(store.usage.diskBytes == first.allocatedBytes)
      // What the failed writes took of the disk is free again.
      try second.resize(to: 400_000)
      try second.rollOver()
      try expect(second, reads: pattern(400_000, tag: 2), asking: 600_000)
    }
  }
}
