import CSpoolSystem
import Glibc
import Synchronization
import SystemPackage
import Testing

@testable import TemporaryFiles

@Suite struct TreeRemovalTests {
  private static let isRoot = getuid() == 0

  /// Runs `meanwhile` over and over on another thread while `body` runs.
  private func whileAnotherThread(_ meanwhile: @escaping @Sendable () -> Void, _ body: () throws -> Void) throws {
    final class State: Sendable {
      let isStopped = Atomic(false)
      let hasEnded = Atomic(false)
    }
    let state = State()
    let pool = BlockingPool(limit: 1)
    pool.submit {
      while !state.isStopped.load(ordering: .acquiring) { meanwhile() }
      state.hasEnded.store(true, ordering: .releasing)
    }
    defer {
      state.isStopped.store(true, ordering: .releasing)
      while !state.hasEnded.load(ordering: .acquiring) { usleep(100) }
    }
    try body()
  }

  private func remove(_ path: FilePath) throws { try TreeRemoval.remove(path, FileIdentity(at: path)) }

  @Test func linksAreRemovedAndNotFollowed() throws {
    try withEmptyDirectory { place in
      let other = place.appending("other")
      makeDirectory(other)
      fill(other)
      let before = entries(of: other)
      var directory = try TemporaryDirectory(in: place)
      for (name, target) in [("directory", other.string), ("file", "../other/file0"), ("nowhere", "x"), ("self", ".")] {
        symlink(target, directory.path.appending(name).string)
      }
      link(other.appending("file0").string, directory.path.appending("hard").string)
      mkfifo(directory.path.appending("fifo").string, 0)
      try directory.cleanup()
      #expect(entries(of: other) == before && before?.count == 4)
      try remove(other)
    }
  }

  @Test func namesNeedNotBeText() throws {
    try withEmptyDirectory { place in
      var directory = try TemporaryDirectory(in: place)
      let long = Array(repeating: UInt8(ascii: "x"), count: 255)
      for bytes in [[0xff, 0xfe], [0x80], [0x0a], [0x20, 0x2e], [0x2e, 0x2e, 0x2e], [0x2e, 0x61], long] as [[UInt8]] {
        let name = FilePath.Component(platformString: bytes.map { CChar(bitPattern: $0) } + [0])!
        makeDirectory(directory.path.appending(name))
        makeFile(directory.path.appending(name).appending(name))
      }
      try directory.cleanup()
    }
  }

  @Test func aTreeOfTenThousandLevelsNeedsFewDescriptors() throws {
    try withEmptyDirectory(in: placeInMemory) { place in
      var directory = try TemporaryDirectory(in: place)
      var current = spool_openat(AT_FDCWD, directory.path.string, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0)
      for _ in 0..<10_000 {
        #expect(mkdirat(current, "d", 0o700) == 0)
        close(spool_openat(current, "file", O_WRONLY | O_CREAT | O_CLOEXEC, 0o600))
        let next = spool_openat(current, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0)
        close(current)
        current = next
      }
      close(current)
      try directory.cleanup()
    }
  }

  @Test func manyEntriesTakeMoreThanOneListing() throws {
    try withEmptyDirectory(in: placeInMemory) { place in
      var directory = try TemporaryDirectory(in: place)
      for index in 0..<5000 { makeFile(directory.path.appending("\(index)")) }
      for index in 0..<100 { makeDirectory(directory.path.appending("d\(index)")) }
      try directory.cleanup()
    }
  }

  @Test func aLinkThatIsSwappedInLeadsNowhere() throws {
    try withEmptyDirectory(in: placeInMemory) { place in
      let (root, precious, aside) = (place.appending("root"), place.appending("precious"), place.appending("aside"))
      makeDirectory(precious)
      fill(precious)
      chmod(precious.string, 0o500)
      let before = entries(of: precious)
      let swapped = root.appending("directory0")
      let swaps = Counter()
      try whileAnotherThread({
        if rename(swapped.string, aside.string) == 0 { swaps.value.add(1, ordering: .relaxed) }
        symlink(precious.string, swapped.string)
        unlink(swapped.string)
        rename(aside.string, swapped.string)
      }) {
        while swaps.value.load(ordering: .relaxed) < 4000 {
          mkdir(root.string, 0o700)
          for name in ["directory0", "directory1"] {
            mkdir(root.appending(name).string, 0o700)
            for file in ["file0", "file1"] { close(creat(root.appending(name).appending(file).string, 0o600)) }
          }
          do { try remove(root) } catch let error as TemporaryFileError { #expect(error.code == .cleanupFailed) }
          #expect(mode(of: precious) == 0o500 && entries(of: precious) == before)
        }
      }
      #expect(entries(of: precious.appending("directory0")) == ["file0", "file1"])
      for path in [root, precious, aside] where exists(path) { try remove(path) }
    }
  }

  @Test func aDirectoryThatIsMovedAwayDoesNotLeadOut() throws {
    try withEmptyDirectory(in: placeInMemory) { place in
      let (root, outside) = (place.appending("root"), place.appending("outside"))
      makeDirectory(outside)
      makeFile(outside.appending("precious"))
      let path = root.appending("a").appending("b").appending("c")
      let moved = outside.appending("c")
      try whileAnotherThread({
        rename(path.string, moved.string)
        rename(moved.string, path.string)
      }) {
        for _ in 0..<60 {
          var deep = root
          // Deep enough that the way back goes through "..".
          for name in ["", "a", "b", "c"] + Array(repeating: "d", count: 2 * TreeRemoval.maximumOpen) {
            if !name.isEmpty { deep = deep.appending(name) }
            mkdir(deep.string, 0o700)
          }
          do { try remove(root) } catch let error as TemporaryFileError { #expect(error.code == .cleanupFailed) }
          #expect(exists(outside.appending("precious")))
        }
      }
      for path in [root, outside] where exists(path) { try remove(path) }
    }
  }

  @Test func whatAppearsMeanwhileIsRemovedTooOrTold() throws {
    try withEmptyDirectory { place in
      var directory = try TemporaryDirectory(in: place)
      let path = directory.path
      mkdir(path.appending("sub").string, 0o700)
      let made = Counter()
      try whileAnotherThread({
        let number = made.value.add(1, ordering: .relaxed).newValue
        guard number < 20_000 else { return }
        close(creat(path.appending("\(number)").string, 0o600))
        close(creat(path.appending("sub/\(number)").string, 0o600))
      }) {
        while made.value.load(ordering: .relaxed) < 100 { usleep(100) }
        while directory.isRemoved == false {
          do throws(TemporaryFileError) { try directory.cleanup() } catch { #expect(error.code == .cleanupFailed) }
        }
      }
      #expect(!exists(path))
    }
  }

  private final class Counter: Sendable { let value = Atomic(0) }

  @Test func twoMayRemoveTheSame() throws {
    try withEmptyDirectory(in: placeInMemory) { place in
      let root = place.appending("root")
      for _ in 0..<20 {
        makeDirectory(root)
        fill(root, depth: 4)
        let identity = try FileIdentity(at: root)
        try whileAnotherThread({
          do { try TreeRemoval.remove(root, identity) } catch { Issue.record(error) }
        }) {
          try TreeRemoval.remove(root, identity)
        }
        #expect(!exists(root))
      }
    }
  }

  @Test(.enabled(if: isRoot), arguments: ["tmpfs", "bind", "on itself"])
  func whatIsMountedInItStaysAndIsTold(kind: String) throws {
    try withEmptyDirectory { place in
      let other = place.appending("other")
      makeDirectory(other)
      var directory = try TemporaryDirectory(in: place)
      fill(directory.path)
      let point = kind == "on itself" ? directory.path : directory.path.appending("mount")
      if kind != "on itself" { makeDirectory(point) }
      let command = kind == "bind" ? "mount --bind '\(other)' '\(point)'" : "mount -t tmpfs none '\(point)'"
      try #require(system(command) == 0)
      var isMounted = true
      defer { if isMounted { system("umount '\(point)'") } }
      makeFile(point.appending("precious"))
      let error = #expect(throws: TemporaryFileError.self) { try directory.cleanup() }
      if kind == "on itself" {
        #expect(error?.code == .replaced)
      } else {
        #expect(error?.code == .cleanupFailed && error?.errno == .resourceBusy)
        #expect(error?.message == "\(point): another filesystem is mounted there")
        #expect(entries(of: directory.path) == ["mount"])
      }
      #expect(entries(of: point) == ["precious"])
      isMounted = system("umount '\(point)'") != 0
      try directory.cleanup()
      #expect(directory.isRemoved == true)
      if kind == "bind" { #expect(entries(of: other) == ["precious"]) }
      try remove(other)
    }
  }

  @Test(.enabled(if: isRoot)) func whatCannotBeRemovedIsToldAndTheRestIsGone() throws {
    try withEmptyDirectory { place in
      var directory = try TemporaryDirectory(in: place)
      fill(directory.path, depth: 2)
      let immutable = ["directory0/directory1/file0", "directory1/file1"].map { directory.path.appending($0) }
      for path in immutable { try #require(system("chattr +i '\(path)'") == 0) }
      let error = #expect(throws: TemporaryFileError.self) { try directory.cleanup() }
      #expect(error?.code == .cleanupFailed && error?.errno == .notPermitted && error?.path == directory.path)
      #expect(error?.message.hasPrefix("2 entries cannot be removed, first of all ") == true)
      #expect(immutable.contains { error?.message.contains("\($0): ") == true })
      #expect(entries(of: directory.path) == ["directory0", "directory1"])
      #expect(entries(of: directory.path.appending("directory0")) == ["directory1"])
      #expect(entries(of: directory.path.appending("directory1")) == ["file1"])
      #expect(directory.isRemoved == false)
      for path in immutable { system("chattr -i '\(path)'") }
      try directory.cleanup()
      #expect(directory.isRemoved == true)
    }
  }

  @Test(.enabled(if: isRoot)) func errorsCanBeIgnored() throws {
    try withEmptyDirectory { place in
      var directory = try TemporaryDirectory(in: place, ignoringCleanupErrors: true)
      fill(directory.path)
      let path = directory.path.appending("file0")
      try #require(system("chattr +i '\(path)'") == 0)
      try directory.cleanup()
      #expect(entries(of: directory.path) == ["file0"] && directory.isRemoved == false)
      system("chattr -i '\(path)'")
      try directory.cleanup()
      #expect(directory.isRemoved == true)
    }
  }
}
