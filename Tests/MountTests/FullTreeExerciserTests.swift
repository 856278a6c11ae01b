import CHostCalls
import Foundation
import SpoolStorage
import SystemPackage
import TestSupport
import Testing

@testable import SpoolFS

extension MountSuites {
  /// Space that runs out again and again: whatever was taken without an error is there.
  @Suite(.serialized, .kernelRing) struct FullTreeExerciserTests {
    /// Random writes, cuts and holes in a tree where there is never quite enough, compared with a plain array of bytes; the
    /// same on a tmpfs shows that the array is right.
    @Test(arguments: Way.all, SmallSpace.all) func whatIsAcknowledgedIsThere(_ way: Way, _ space: SmallSpace)
      async throws
    {
      let seed = SeededGenerator.testSeed(SmallSpace.all.firstIndex { $0.testDescription == space.testDescription }!)
      try await FullTreeTests.withSmallMount(space, way) { tree in
        try tree.run(Self.exercise, [String(seed), String(SeededGenerator.operations(1500))])
      }
    }

    @Test(.enabled(if: geteuid() == 0, "mounting a tmpfs takes root")) func whatIsAcknowledgedIsThereOnTmpfs()
      async throws
    {
      try await onThread {
        let path = try MountedTree.makeMountPoint()
        defer { rmdir(path) }
        try check(host_mount_tmpfs(path, "size=8m,huge=never"))
        defer { _ = host_unmount(path) }
        let seed = SeededGenerator.testSeed()
        let (text, status) = try runPython(
          Self.exercise, in: path, [String(seed), String(SeededGenerator.operations(1500))])
        #expect(status == 0, "\(text)")
      }
    }

    private static let exercise = """
      import errno, os, random, sys

      seed, steps = int(sys.argv[2]), int(sys.argv[3])
      source = random.Random(seed)
      largest = 3 << 20
      models, files, log = {}, {}, []
      full = 0

      def store(name, at, data):
          model = models[name]
          if data and at + len(data) > len(model):
              model.extend(bytes(at + len(data) - len(model)))
          model[at : at + len(data)] = data

      def verify(name):
          file, model = files[name], models[name]
          assert os.fstat(file).st_size == len(model), f"size {os.fstat(file).st_size}, not {len(model)}"
          at = 0
          while True:
              part = os.pread(file, 1 << 20, at)
              expected = model[at : at + len(part)]
              if part != expected:
                  first = next(i for i in range(len(part)) if part[i] != expected[i])
                  raise AssertionError(f"byte {at + first} of {len(model)}")
              at += len(part)
              if not part: break
          assert at == len(model)

      def step():
          global full
          name = source.choice("abcdefgh")
          if name not in files:
              files[name] = os.open(name, os.O_CREAT | os.O_RDWR, 0o600)
              models.setdefault(name, bytearray())
          file, model = files[name], models[name]
          what = source.choices(
              ["write", "append", "vector", "cut", "remove", "sync", "reopen", "verify", "allocate", "punch", "copy", "drop"],
              [40, 20, 8, 1, 1, 4, 6, 4, 4, 3, 6, 2])[0]
          size = source.randrange(1, 1 << source.randrange(1, 21))
          at = source.randrange(largest)
          log.append(f"{what} {name} {at} {size} (of {len(model)})")
          try:
              if what == "write":
                  data = source.randbytes(size)
                  store(name, at, data[: os.pwrite(file, data, at)])
              elif what == "append":
                  data = source.randbytes(size)
                  os.lseek(file, 0, os.SEEK_END)
                  end = len(model)
                  store(name, end, data[: os.write(file, data)])
              elif what == "vector":
                  data = source.randbytes(size)
                  store(name, at, data[: os.pwritev(file, [data[: size // 2], data[size // 2 :]], at)])
              elif what == "cut":
                  os.ftruncate(file, at)
                  if at < len(model): del model[at:]
                  else: model.extend(bytes(at - len(model)))
              elif what == "remove":
                  os.unlink(name)
                  del models[name]
                  os.close(files.pop(name))
              elif what == "sync":
                  os.fsync(file)
              elif what == "reopen":
                  del files[name]
                  os.close(file)
                  files[name] = os.open(name, os.O_RDWR)
              elif what == "verify":
                  verify(name)
              elif what == "allocate":
                  os.posix_fallocate(file, at, size)
                  if at + size > len(model): model.extend(bytes(at + size - len(model)))
              elif what == "punch" and model:
                  libc.fallocate(file, 3, at, size)
                  part = max(0, min(size, len(model) - at))
                  model[at : at + part] = bytes(part)
              elif what == "copy" and model:
                  other = source.choice(sorted(files))
                  if other != name:
                      start = source.randrange(len(model))
                      count = os.copy_file_range(file, files[other], size, start, at)
                      store(other, at, model[start : start + count])
              elif what == "drop":
                  os.fsync(file)
                  os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
          except OSError as error:
              assert error.errno == errno.ENOSPC, error
              assert what in ("write", "append", "vector", "allocate", "copy"), f"{what}: what was taken is lost"
              full += 1

      import ctypes
      libc = ctypes.CDLL(None)
      libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]
      try:
          for number in range(steps):
              step()
          for name in sorted(files):
              os.fsync(files[name])
              os.posix_fadvise(files[name], 0, 0, os.POSIX_FADV_DONTNEED)
              verify(name)
      except BaseException as error:
          print(f"{error!r}; again with SPOOLFS_SEED={seed}. Last steps:", *log[-25:], sep="\\n")
          sys.exit(1)
      if full < steps // 50:
          sys.exit(f"space ended {full} times only")
      """
  }
}
