import CHostCalls
import Foundation
import SystemPackage
import Testing

@testable import SpoolFS

extension MountSuites {
  /// io_submit(2) on a file that is open with O_DIRECT, beside readers that go through the page cache.
  @Suite(.serialized) struct AsynchronousWriteTests {
    private static let directFlag: Int32 = 0o40000
    private static let size = 64 << 10
    /// In up to a quarter of them a read was old where the kernel was asked for asynchronous requests. The time is enough
    /// for all of them; a machine that is busy does fewer.
    private static let rounds = 400
    private static let patience: TimeInterval = 10

    @Test(arguments: MountOptions.Cache.allCases) func whoReadsThroughTheCacheSeesWhatWasWritten(
      _ cache: MountOptions.Cache
    ) async throws {
      try await withMount(options: .init(cache: cache)) { tree in
        try Host.create(tree("a"), [UInt8](repeating: 0, count: Self.size))
        try withReaders(of: tree("a")) {
          let stale = try Self.writeAndRead(tree("a"), rounds: Self.rounds)
          #expect(stale == 0, "\(stale) of \(Self.rounds) reads were old")
        }
      }
    }

    /// - Returns: how many reads had not what was written before.
    private static func writeAndRead(_ path: String, rounds: Int) throws -> Int {
      let direct = try HostFile(path, O_RDWR | directFlag)
      let buffered = try HostFile(path, O_RDONLY)
      let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: size, alignment: 4096)
      defer { buffer.deallocate() }
      var stale = 0
      let end = Date() + patience
      for round in 1...rounds where Date() < end {
        let value = UInt8(truncatingIfNeeded: round)
        memset(buffer.baseAddress!, Int32(value), size)
        let count = try check(host_write_async(direct.descriptor, buffer.baseAddress!, size, 0))
        try #require(count == size)
        let seen = try buffered.read(size)
        if seen.count != size || seen.contains(where: { $0 != value }) { stale += 1 }
      }
      return stale
    }
  }
}

/// Runs `body` while two other processes read the file again and again.
private func withReaders(of path: String, _ body: () throws -> Void) throws {
  let program = """
    import os, sys
    parent, file = os.getppid(), os.open(sys.argv[1], os.O_RDONLY)
    print("reading", flush=True)
    while os.getppid() == parent: os.pread(file, 65536, 0)
    """
  var readers: [Process] = []
  defer {
    // Whoever runs the tests may have SIGTERM ignored.
    for reader in readers { kill(reader.processIdentifier, SIGKILL) }
    for reader in readers { reader.waitUntilExit() }
  }
  for _ in 0..<2 {
    let reader = Process()
    let output = Pipe()
    reader.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    reader.arguments = ["python3", "-c", program, path]
    reader.standardOutput = output
    try reader.run()
    readers.append(reader)
    try #require(output.fileHandleForReading.availableData.starts(with: "reading".utf8))
  }
  try body()
}
