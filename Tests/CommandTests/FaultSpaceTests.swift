import Glibc
import SystemPackage
import Testing

extension Sandbox {
  /// Whether a filesystem in a file can be mounted.
  static let canMountImages =
    getuid() == 0 && system("losetup -f >/dev/null 2>&1 && command -v mkfs.ext4 >/dev/null 2>&1") == 0

  /// Runs `body` with an empty filesystem of 16 MiB, and expects it to be as empty afterwards.
  fileprivate func withSmallDisk(_ body: (FilePath) async throws -> Void) async throws {
    let disk = work.appending("disk")
    let made = try await shell(
      "set -e; truncate -s 16M image; mkfs.ext4 -q image; mkdir disk; mount -o loop image disk; rmdir disk/lost+found")
    try #require(made.succeeded, "\(made.testDescription)")
    let used = try await run("df", ["--output=used", disk.string]).text
    do {
      try await body(disk)
    } catch {
      try await run("umount", ["-l", disk.string])
      throw error
    }
    #expect(disk.entries.isEmpty)
    #expect(try await eventually { try await run("df", ["--output=used", disk.string]).text == used })
    let unmounted = try await run("umount", [disk.string])
    #expect(unmounted.succeeded, "\(unmounted.testDescription)")
  }
}

extension CommandTests {
  /// Disks that are full, descriptors that have run out, and crowds.
  @Suite(.serialized, .timeLimit(.minutes(10))) struct FaultSpaceTests {
    @Test(.enabled(if: Sandbox.canMountImages), arguments: ["writethrough", "writeback"])
    func aFullDiskLosesNothing(cache: String) async throws {
      try await Sandbox.with { sandbox in
        try await sandbox.withSmallDisk { disk in
          try await sandbox.mount(["--threshold=1m", "--memory=8m", "--spill-dir=\(disk)", "--cache=\(cache)"])
          let outcome = try await sandbox.run("python3", ["-c", Self.fillDisk, sandbox.mountPoint.string])
          #expect(outcome.succeeded, "\(outcome.testDescription)")
          try await sandbox.unmount()
        }
      }
    }

    /// Fills a directory; checks that what was written for sure is there; makes room and writes again.
    private static let fillDisk = """
      import errno, os, random, sys

      os.chdir(sys.argv[1])
      source = random.Random(3)
      sure = {}

      def write(name, size):
          "Writes and returns True, or returns False when there is no room for all of it."
          sure[name] = bytearray()
          file = os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
          try:
              while len(sure[name]) < size:
                  piece = source.randbytes(65536)
                  count = os.write(file, piece)
                  os.fsync(file)
                  sure[name] += piece[:count]
          except OSError as error:
              assert error.errno == errno.ENOSPC, error
              return False
          finally:
              try:
                  os.close(file)
              except OSError as error:
                  assert error.errno == errno.ENOSPC, error
          return True

      def check():
          for name, data in sure.items():
              with open(name, "rb") as file:
                  found = file.read()
              assert found[: len(data)] == data, f"{name} has changed"
              assert len(found) <= len(data) + 65536, f"{name} has {len(found)} bytes, not {len(data)}"

      names = iter(f"file{number}" for number in range(1000))
      while write(next(names), 3 << 20):
          check()
      check()
      held = sum(map(len, sure.values()))
      assert 12 << 20 < held < 25 << 20, f"{held} bytes are no 8 MiB of memory and 16 MiB of disk"

      # What needs no room goes on.
      os.mkdir("directory")
      os.rename("file0", "directory/file0")
      os.rename("directory/file0", "file0")
      os.rmdir("directory")
      check()

      for turn in range(3):
          victims = list(sure)[:2]
          for name in victims:
              os.unlink(name)
              del sure[name]
          assert write(next(names), 3 << 20), "no room although files were removed"
          check()
          while write(next(names), 3 << 20):
              pass
          check()
      """

    @Test func runningOutOfDescriptorsLosesNothing() async throws {
      try await Sandbox.with { sandbox in
        let mounting = try await sandbox.run(
          "prlimit",
          [
            "--nofile=64:64", Sandbox.executable.string, "mount", "--threshold=64k", "--cache=writethrough",
            sandbox.mountPoint.string,
          ])
        try #require(mounting.succeeded, "\(mounting.testDescription)")
        let outcome = try await sandbox.run("python3", ["-c", Self.useDescriptors, sandbox.mountPoint.string])
        #expect(outcome.succeeded, "\(outcome.testDescription)")
        try await sandbox.unmount()
      }
    }

    /// Makes more files that want to go to disk than the daemon can have descriptors.
    private static let useDescriptors = """
      import os, random, sys

      os.chdir(sys.argv[1])
      source = random.Random(4)

      def write(name):
          "Two pieces fit the threshold, the third one does not. Returns what was written and the error."
          data = bytearray()
          with open(name, "xb", buffering=0) as file:
              for size in (32768, 32768, 40000):
                  piece = source.randbytes(size)
                  try:
                      data += piece[: file.write(piece)]
                  except OSError as error:
                      return data, error
          return data, None

      for turn in range(2):
          files = {f"{turn}-{number}": write(f"{turn}-{number}") for number in range(100)}
          failed = [error for _, error in files.values() if error]
          assert 0 < len(failed) < 100, f"{len(failed)} of 100 failed"
          for name, (data, error) in files.items():
              with open(name, "rb") as file:
                  assert file.read() == data, f"{name} has changed ({error})"
              assert len(data) == (65536 if error else 105536), name
          for name in files:
              os.unlink(name)
          assert os.listdir(".") == []
      """

    @Test(arguments: ["writethrough", "writeback"])
    func twoHundredClientsKeepTheirFiles(cache: String) async throws {
      try await Sandbox.with { sandbox in
        try await sandbox.mount(["--threshold=64k", "--memory=16m", "--cache=\(cache)"])
        let outcome = try await sandbox.run("python3", ["-c", Self.crowd, sandbox.mountPoint.string, "200"])
        #expect(outcome.succeeded, "\(outcome.testDescription)")
        #expect(sandbox.mountPoint.entries.isEmpty)
        try await sandbox.unmount()
      }
    }

    /// Many processes at once make, change, read, map, link, rename and remove files of sizes about the threshold.
    private static let crowd = """
      import mmap, os, random, sys

      top, clients = sys.argv[1], int(sys.argv[2])
      sizes = [0, 1, 4095, 4096, 30_000, 65_535, 65_536, 65_537, 300_000]

      def check(path, data):
          with open(path, "rb") as file:
              assert file.read() == data, f"{path} differs"
              if data:
                  with mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as view:
                      assert view[:] == data, f"{path} differs when mapped"

      def client(number):
          source = random.Random(number)
          own = os.path.join(top, f"client{number}")
          os.mkdir(own)
          for turn in range(6):
              data = bytearray(source.randbytes(source.choice(sizes)))
              path = os.path.join(top, f"shared-{number}-{turn}")
              with open(path, "xb") as file:
                  file.write(data)
              check(path, data)
              with open(path, "r+b", buffering=0) as file:
                  for _ in range(5):
                      at, piece = source.randrange(len(data) + 1), source.randbytes(source.randrange(1, 9000))
                      os.pwrite(file.fileno(), piece, at)
                      data[at : at + len(piece)] = piece
                  if turn % 2:
                      length = source.randrange(len(data))
                      file.truncate(length)
                      del data[length:]
              other = os.path.join(own, "name")
              os.link(path, os.path.join(own, "link"))
              os.rename(path, other)
              check(other, data)
              os.unlink(other)
              check(os.path.join(own, "link"), data)
              os.unlink(os.path.join(own, "link"))
          os.rmdir(own)

      wait_for_start, start = os.pipe()
      children = []
      for number in range(clients):
          child = os.fork()
          if child == 0:
              os.close(start)
              os.read(wait_for_start, 1)
              client(number)
              os._exit(0)
          children.append(child)
      os.close(start)
      failed = sum(os.waitpid(child, 0)[1] != 0 for child in children)
      sys.exit(f"{failed} clients failed" if failed else 0)
      """
  }
}
