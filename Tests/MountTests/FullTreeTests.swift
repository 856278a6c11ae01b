import Foundation
import SpoolStorage
import SystemPackage
import Testing

@testable import SpoolFS

extension MountSuites {
  /// Where space ends, the one who writes hears of it, and nothing that was taken is lost.
  @Suite(.serialized, .kernelRing) struct FullTreeTests {
    static func withSmallMount(
      _ space: SmallSpace, _ way: Way, _ body: @escaping @Sendable (ServedMount) throws -> Void
    ) async throws {
      try await onThread {
        let mount = try ServedMount(space.storage, cache: way.cache, transport: way.transport)
        defer { mount.end() }
        try body(mount)
      }
    }

    /// What the programs share.
    private static let tools = """
      import errno, mmap, os, random, sys, threading

      def fill(name, block=4096, flags=os.O_WRONLY, seed=1):
          "Writes until there is no room. Returns all that was taken; no later call may take a word back."
          source, data = random.Random(seed), bytearray()
          file = os.open(name, os.O_CREAT | flags, 0o600)
          while True:
              piece = source.randbytes(block)
              try:
                  data += piece[: os.write(file, piece)]
              except OSError as error:
                  assert error.errno == errno.ENOSPC, error
                  break
          os.fsync(file)
          os.close(file)
          return data

      def drop(name):
          "What is read next comes from the tree."
          file = os.open(name, os.O_RDONLY)
          os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
          os.close(file)

      def check(name, data):
          for turn in range(2):
              with open(name, "rb") as file:
                  found = file.read()
              assert len(found) == len(data), f"{name} has {len(found)} bytes, not {len(data)}"
              assert found == data, f"{name} differs"
              assert os.stat(name).st_size == len(data)
              drop(name)

      def refused(body, wanted=errno.ENOSPC):
          try:
              body()
          except OSError as error:
              assert error.errno == wanted, error
              return
          raise AssertionError("it succeeded")

      """

    @Test(arguments: Way.all, SmallSpace.all) func exactlyWhatFitsIsTaken(_ way: Way, _ space: SmallSpace) async throws
    {
      try await Self.withSmallMount(space, way) { tree in
        try tree.run(Self.tools + Self.fillExactly, [String(SmallSpace.bytes)])
      }
    }

    private static let fillExactly = """
      limit = int(sys.argv[2])
      for block in (4096, 65536, 1 << 20):
          data = fill("file", block)
          assert len(data) == limit, f"{len(data)} bytes in blocks of {block}, not {limit}"
          check("file", data)
          os.unlink("file")
      # Small pieces end at a page, or with the piece that the last page has no room for.
      for flags in (os.O_WRONLY, os.O_WRONLY | os.O_APPEND):
          data = fill("file", 1000, flags)
          assert limit - 1000 < len(data) <= limit, len(data)
          check("file", data)
          os.unlink("file")
      """

    @Test(arguments: Way.all, SmallSpace.all) func aFullTreeGoesOn(_ way: Way, _ space: SmallSpace) async throws {
      try await Self.withSmallMount(space, way) { tree in try tree.run(Self.tools + Self.useFull) }
    }

    private static let useFull = """
      data = fill("file")
      # What takes no space succeeds: reading to the end and past it, seeking there, writing over what there is.
      check("file", data)
      file = os.open("file", os.O_RDWR)
      assert os.lseek(file, 0, os.SEEK_END) == len(data)
      assert os.read(file, 100) == b"" and os.pread(file, 100, len(data) + 5000) == b""
      for at in range(0, len(data), 300_000):
          piece = random.Random(at).randbytes(9000)[: len(data) - at]
          assert os.pwrite(file, piece, at) == len(piece)
          data[at : at + len(piece)] = piece
      os.lseek(file, 5000, os.SEEK_SET)
      assert os.writev(file, [b"one", b"two"]) == 6
      data[5000:5006] = b"onetwo"
      os.fsync(file)
      check("file", data)
      # What takes some is refused, whatever call it is, and changes nothing.
      other = os.open("other", os.O_CREAT | os.O_RDWR)
      end = os.open("other", os.O_WRONLY | os.O_APPEND)
      refused(lambda: os.write(end, b"x"))
      os.close(end)
      refused(lambda: os.write(other, b"x"))
      refused(lambda: os.writev(other, [b"x", b"y"]))
      refused(lambda: os.pwrite(file, b"x", len(data) + 4096))
      refused(lambda: os.posix_fallocate(other, 0, 100_000))
      refused(lambda: os.copy_file_range(file, other, 100, 0))
      refused(lambda: os.sendfile(other, file, 0, 100))
      assert os.fstat(other).st_size == 0 and os.fstat(file).st_size == len(data)
      os.fsync(other)
      # Space that is given back is there at once.
      os.ftruncate(file, len(data) - 200_000)
      del data[len(data) - 200_000 :]
      assert os.write(other, b"y" * 100_000) == 100_000
      os.close(other)
      os.close(file)
      check("other", b"y" * 100_000)
      check("file", data)
      os.unlink("other")
      os.unlink("file")
      check("again", fill("again", 65536))
      """

    @Test(arguments: Way.all, SmallSpace.all) func severalWritersLoseNothing(_ way: Way, _ space: SmallSpace)
      async throws
    {
      try await Self.withSmallMount(space, way) { tree in
        try tree.run(Self.tools + Self.writeTogether, [String(SmallSpace.bytes)])
      }
    }

    private static let writeTogether = """
      limit, count, found = int(sys.argv[2]), 4, {}
      def work(number):
          try:
              found[number] = fill(f"file{number}", 5000 + number * 777, seed=number)
          except BaseException as error:
              found[number] = error
      threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
      for thread in threads: thread.start()
      for thread in threads: thread.join()
      for number in range(count):
          assert isinstance(found[number], bytearray), repr(found[number])
          check(f"file{number}", found[number])
      taken = sum(len(data) for data in found.values())
      assert limit - count * 65536 < taken <= limit, taken
      """

    /// Stores to a mapping fail at once (SIGBUS), or at msync(2) and close(2); what did not fit is never read as zeros.
    @Test(arguments: Way.all, [SmallSpace.size, .memory]) func storesThatDoNotFitAreErrors(
      _ way: Way, _ space: SmallSpace
    ) async throws {
      try await Self.withSmallMount(space, way) { tree in
        try tree.run(Self.tools + Self.storeToMapping, [String(SmallSpace.bytes)])
      }
    }

    private static let storeToMapping = """
      limit = int(sys.argv[2])
      size = 2 * limit
      file = os.open("file", os.O_CREAT | os.O_RDWR)
      os.ftruncate(file, size)
      progress = mmap.mmap(-1, 8)
      child = os.fork()
      if child == 0:
          view = mmap.mmap(file, size)
          for at in range(0, size, 4096):
              view[at] = 7
              progress[:8] = (at + 4096).to_bytes(8, "little")
          try:
              view.flush()
          except OSError as error:
              os._exit(100 + error.errno)
          os._exit(0)
      status = os.waitpid(child, 0)[1]
      stored = int.from_bytes(progress[:8], "little")
      signalled = os.WIFSIGNALED(status) and os.WTERMSIG(status) == 7
      assert signalled or os.WEXITSTATUS(status) in (100 + errno.ENOSPC, 100 + errno.EIO), status
      try:
          os.fsync(file)
          late = False
      except OSError as error:
          assert error.errno in (errno.ENOSPC, errno.EIO), error
          late = True
      drop("file")
      right = lost = 0
      for at in range(0, stored, 4096):
          try:
              assert os.pread(file, 1, at) == b"\\7", f"{at} of {stored} reads as zero"
              right += 4096
          except OSError as error:
              assert error.errno == errno.EIO, error
              lost += 4096
      assert limit // 2 <= right <= limit, right
      assert lost == 0 or late or not signalled, f"nobody was told of {lost} bytes"
      # Cut and written again it is a file like any other.
      os.ftruncate(file, 0)
      assert os.pwrite(file, b"new", 0) == 3
      os.fsync(file)
      assert os.pread(file, 10, 0) == b"new"
      """

    /// What no file can hold: far from any limit the kernel takes it, and the error comes later.
    @Test(arguments: Way.all) func bytesTooFarOutAreLostWithAnError(_ way: Way) async throws {
      try await onThread {
        let tree = try ServedMount(.init(threshold: .unlimited), cache: way.cache, transport: way.transport)
        defer { tree.end() }
        try tree.run(Self.tools + Self.writeFarOut)
      }
    }

    private static let writeFarOut = """
      import time
      far = (1 << 63) - 8192
      file = os.open("file", os.O_CREAT | os.O_RDWR)
      assert os.write(file, b"near") == 4
      try:
          os.pwrite(file, b"far", far)
          asked = False
      except OSError as error:
          assert error.errno == errno.EFBIG, error
          asked = True
      if not asked:
          refused(lambda: os.fsync(file), errno.EFBIG)
          refused(lambda: os.write(file, b"more"), errno.EFBIG)
          for attempt in range(1000):
              try:
                  assert os.pread(file, 3, far) == b"far", "lost bytes read as others"
              except OSError as error:
                  assert error.errno == errno.EIO, error
                  break
              time.sleep(0.01)
          else:
              raise AssertionError("what is lost is still read")
      os.ftruncate(file, 4)
      assert os.pwrite(file, b"more", 4) == 4
      os.fsync(file)
      os.close(file)
      check("file", b"nearmore")
      """

    @Test func spaceThatGetsShortIsAskedAbout() async throws {
      // More than the kernel may hold, so that nothing is asked at first.
      let limit = Int64(400) << 20
      try await onThread {
        let tree = try ServedMount(
          .init(threshold: .unlimited, memoryBudget: 1 << 30, sizeLimit: limit), cache: .writeback)
        defer { tree.end() }
        try tree.run(Self.tools + Self.fillLarge, [String(limit)])
      }
    }

    private static let fillLarge = """
      limit = int(sys.argv[2])
      keeper = os.open("keeper", os.O_CREAT | os.O_RDWR)
      assert os.write(keeper, b"k" * 5000) == 5000
      data = fill("file", 1 << 20)
      assert limit - (2 << 20) < len(data) <= limit, len(data)
      check("file", data)
      assert len(data) + len(fill("rest")) == limit - 8192
      refused(lambda: os.pwrite(keeper, b"x" * 8192, 8192))
      assert os.pread(keeper, 9000, 0) == b"k" * 5000
      """
  }
}
