import Glibc
import SystemPackage
import TestSupport
import Testing

extension CommandTests {
  /// A spill disk that takes what is written to it, and then has no space for it.
  @Suite(.enabled(if: getuid() == 0, "mounting needs root")) struct FaultDiskTests {
    @Test(arguments: ["writeback", "writethrough", "none"], [false, true])
    func `what was synchronized on a disk that fills up late can be read, and who loses is told`(
      cache: String, encrypts: Bool
    ) async throws {
      let image = try SparseImage("ext4", size: 96, space: 28, hasPath: true)
      try await Sandbox.with { sandbox in
        let options = ["--memory", "8m", "--threshold", "2m", "--cache", cache, "--spill-dir", image.path.string]
        let outcome = try await sandbox.spoolfs(
          ["run"] + options + (encrypts ? ["--encrypt-spill"] : []) + ["--", "python3", "-c", Self.program])
        #expect(outcome.succeeded, "\(outcome.testDescription)")
        #expect(outcome.text.contains("told"), "\(outcome.testDescription)")
        #expect(outcome.errorText.contains("the disk refuses what was written to file"), "\(outcome.testDescription)")
      }
    }

    /// Writes more than there is, synchronizes each file, and reads all of them when the kernel has forgotten them.
    private static let program = """
      import json, os, random, sys

      top, files, told = os.environ["TMPDIR"], [], 0
      for number in range(20):
          data = random.Random(number).randbytes(3 << 20)
          path = os.path.join(top, f"file{number}")
          descriptor = os.open(path, os.O_CREAT | os.O_RDWR)
          try:
              for at in range(0, len(data), 1 << 16):
                  assert os.pwrite(descriptor, data[at : at + (1 << 16)], at) == 1 << 16
              os.fsync(descriptor)
              files.append((path, data))
          except OSError as error:
              told += 1
              print("told", number, error)
          try:
              os.close(descriptor)
          except OSError as error:
              print("told late", number, error)
      for path, data in files:
          descriptor = os.open(path, os.O_RDONLY)
          os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
          for at in range(0, len(data), 1 << 16):
              piece = os.pread(descriptor, 1 << 16, at)
              if piece != data[at : at + (1 << 16)]:
                  sys.exit(f"{path} differs at {at}: {piece[:8]}")
          os.close(descriptor)
      numbers = json.load(open(os.path.join(top, ".spoolfs/stats")))
      if not told or not files or not numbers["disk_refusals"]:
          sys.exit(f"{told} told, {len(files)} kept, {numbers}")
      """
  }
}
