import Foundation
import SpoolStorage
import SystemPackage
import Testing

@testable import SpoolFS

/// What ends first in a small tree.
struct SmallSpace: Sendable, CustomTestStringConvertible {
  var testDescription: String
  var storage: SpoolConfiguration

  static let bytes: Int64 = 8 << 20

  static let size = SmallSpace(
    testDescription: "size", storage: .init(threshold: .unlimited, memoryBudget: 1 << 30, sizeLimit: bytes))
  static let sizeWithFilesOnDisk = SmallSpace(
    testDescription: "size, files on disk", storage: .init(threshold: .bytes(50_000), sizeLimit: bytes))
  static let memory = SmallSpace(
    testDescription: "memory", storage: .init(threshold: .unlimited, memoryBudget: bytes, spillCapacity: 0))
  static let spillCapacity = SmallSpace(
    testDescription: "spill capacity", storage: .init(threshold: .bytes(0), memoryBudget: 1 << 20, spillCapacity: bytes)
  )

  static let all = [size, sizeWithFilesOnDisk, memory, spillCapacity]
}

extension ServedMount {
  /// Runs a Python program in the mount's directory, and expects it to end well.
  ///
  /// It ends after a minute whatever happens: the connection is aborted, so that nobody waits for the mount for ever.
  func run(_ program: String, _ arguments: [String] = []) throws {
    let (text, status) = try runPython(program, in: path, arguments) { self.abort() }
    #expect(status == 0, "\(text)")
  }

  /// Makes every request fail that waits for the server.
  private func abort() {
    let entry = (try? MountTable.spoolfsEntries())?.last { $0.path == FilePath(path) }
    guard let entry, let file = try? HostFile("/sys/fs/fuse/connections/\(entry.minor)/abort", O_WRONLY) else { return }
    try? file.append([UInt8(ascii: "1")])
  }
}

/// Runs a Python program in a directory, for a minute at most.
///
/// - Parameter abort: called when it has not ended by then, and before it is killed.
func runPython(
  _ program: String, in directory: String, _ arguments: [String] = [], abort: @escaping @Sendable () -> Void = {}
) throws -> (text: String, status: Int32) {
  let process = Process()
  process.executableURL = URL(fileURLWithPath: "/usr/bin/python3")
  process.arguments = ["-c", "import os, sys; os.chdir(sys.argv[1])\n" + program, directory] + arguments
  let output = Pipe()
  process.standardOutput = output
  process.standardError = output
  try process.run()
  let identifier = process.processIdentifier
  let watchdog = DispatchWorkItem {
    abort()
    kill(identifier, SIGKILL)
  }
  DispatchQueue.global().asyncAfter(deadline: .now() + 60, execute: watchdog)
  let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
  process.waitUntilExit()
  watchdog.cancel()
  let status = process.terminationStatus
  return (text, process.terminationReason == .uncaughtSignal ? 128 + status : status)
}
