import Foundation
import SpoolStorage
import SystemPackage
import TestSupport
import Testing

@testable import SpoolFS

extension MountSuites {
  /// Random operations on files that cross the threshold in every way; see `DataExerciser`.
  ///
  /// SPOOLFS_SEED repeats a run, SPOOLFS_OPERATIONS makes it longer.
  @Suite(.serialized) struct DataExerciserTests {
    /// Where the bytes go: memory alone, disk from somewhere on, disk alone, and disk because memory is short.
    static let storages: [SpoolConfiguration] = [
      .init(threshold: .unlimited), .init(threshold: .bytes(50_000)), .init(threshold: .bytes(300_000)),
      .init(threshold: .bytes(0)), .init(threshold: .bytes(400_000), memoryBudget: 4 << 20),
    ]

    @Test(arguments: cacheModes, storages.indices.map { $0 })
    func oneFile(_ cache: MountOptions.Cache, _ storage: Int) async throws {
      let seed = SeededGenerator.testSeed()
      try await withServedMount(Self.storages[storage], cache: cache) { tree in
        let exerciser = try DataExerciser(tree("file"), seed: seed)
        try exerciser.run(SeededGenerator.operations(400))
      }
    }

    /// Several at a time, with less memory than they need together.
    @Test(arguments: cacheModes) func filesAtTheSameTime(_ cache: MountOptions.Cache) async throws {
      let seed = SeededGenerator.testSeed()
      let storage = SpoolConfiguration(threshold: .bytes(200_000), memoryBudget: 4 << 20)
      let tree = try await onThread { try ServedMount(storage, cache: cache) }
      try await onThreads(6) { index in
        let exerciser = try DataExerciser(tree("file\(index)"), seed: seed &+ UInt64(index))
        try exerciser.run(SeededGenerator.operations(150))
      }
      try await onThread { tree.end() }
    }

    /// The exerciser itself, on the host's tmpfs or disk.
    @Test func exerciserAgreesWithTheHost() async throws {
      try await onThread {
        let path = "/dev/shm/spoolfs-exerciser-\(getpid())"
        defer { try? Host.unlink(path) }
        let exerciser = try DataExerciser(path, seed: SeededGenerator.testSeed())
        do {
          try exerciser.run(300)
        } catch let mismatch as DataExerciser.Mismatch {
          // Older kernels' tmpfs has neither O_DIRECT nor FALLOC_FL_ZERO_RANGE.
          let isKnown =
            mismatch.description.contains("Invalid argument") || mismatch.description.contains("not supported")
          #expect(isKnown, "\(mismatch)")
        }
      }
    }
  }
}
