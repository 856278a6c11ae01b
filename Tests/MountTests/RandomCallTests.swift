import Foundation
import SystemPackage
import TestSupport
import Testing

@testable import SpoolFS

extension MountSuites {
  /// Whatever programs ask for, each call returns, and the server goes on.
  @Suite(.serialized, .kernelRing) struct RandomCallTests {
    private static let program = FilePath(#filePath).removingLastComponent().removingLastComponent()
      .appending("LoadPrograms/calls.py").string

    @Test(arguments: Way.all) func extremeArgumentsEndNoServer(_ way: Way) async throws {
      try await onThread {
        let seed = SeededGenerator.testSeed(18)
        let mount = try ServedMount(
          .init(threshold: .bytes(65_536), memoryBudget: 16 << 20, spillCapacity: 128 << 20, sizeLimit: 64 << 20),
          cache: way.cache, transport: way.transport)
        defer { mount.end() }
        let calls = Process()
        calls.executableURL = URL(filePath: "/usr/bin/timeout")
        calls.arguments =
          ["-k", "1", "240", "/usr/bin/python3", Self.program, mount.path]
          + ["\(seed)", "\(SeededGenerator.operations(5000))"]
        let output = Pipe()
        calls.standardOutput = output
        try calls.run()
        let said = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        calls.waitUntilExit()
        #expect(said == "done\n" && calls.terminationStatus == 0, "again with SPOOLFS_SEED=\(seed)")
        // The tree may be full: what is there can go, and then it works as any.
        let clearing = try Process.run(
          URL(filePath: "/usr/bin/find"), arguments: [mount.path, "-mindepth", "1", "-delete"])
        clearing.waitUntilExit()
        #expect(clearing.terminationStatus == 0)
        try eventually { (try? Host.create(mount("last"), pattern(200_000))) != nil }
        #expect(try Host.contents(mount("last")) == pattern(200_000))
        mount.end()
        #expect(mount.exitStatus == 0)
      }
    }
  }
}
