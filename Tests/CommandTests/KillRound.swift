import Foundation
import SystemPackage
import TestSupport
import Testing

/// One kill: a tree, a load on it, and what comes of both.
final class KillRound {
  /// What `load.py` tells in the end.
  struct Report: Decodable {
    var operations, compared, wrong, errors, late: Int
    var first_error: String?
    var details: [String]
  }

  private struct Beginning: Decodable {
    var device: Int
    var directory: String
  }

  private struct Stop: Error, CustomStringConvertible {
    let description: String
  }

  let kill: Kill
  private let spillDirectory: FilePath?
  private(set) var report: Report?
  private(set) var isHung = false
  private(set) var leftovers: [String] = []
  private(set) var faults: [String] = []

  private static let load = FilePath(#filePath).removingLastComponent().removingLastComponent()
    .appending("LoadPrograms/load.py")

  init(_ kill: Kill, spillDirectory: FilePath?) {
    self.kill = kill
    self.spillDirectory = spillDirectory
  }

  func fail(_ text: String) { faults.append(text) }

  func run() async throws {
    let sandbox = try Sandbox(user: kill.user)
    do { try await run(in: sandbox) } catch { fail("\(error)") }
    leftovers = await sandbox.leftovers()
    if !leftovers.isEmpty { fail("left behind: \(leftovers)") }
    await sandbox.remove()
  }

  private func run(in sandbox: Sandbox) async throws {
    let load = sandbox.work.appending("load.py")
    try load.write(Self.load.bytes)
    let options = ["--transport=\(kill.transport)", "--cache=\(kill.cache)", "--threshold=64k", "--memory=8m"]
    let result = sandbox.work.appending("result")
    let client = ["/usr/bin/python3", load.string]
    switch kill.command {
    case .mount:
      try await spoolfs(["mount"] + options + [sandbox.mountPoint.string], in: sandbox)
      let arguments = [sandbox.mountPoint.string, "\(kill.seed)", result.string, "inside"]
      try await withLoad(client + arguments, result, in: sandbox)
    case .run:
      let script = "exec \(client.joined(separator: " ")) \"$TMPDIR\" \(kill.seed) \(result) by-path"
      let command = [Sandbox.executable.string, "run"] + options + ["--", "sh", "-c", script]
      try await withLoad(command, result, in: sandbox)
    }
    try await end(in: sandbox)
  }

  /// Runs `spoolfs` to its end, which must be a success within half a minute.
  private func spoolfs(_ arguments: [String], in sandbox: Sandbox) async throws {
    let words = ["-k", "1", "30", Sandbox.executable.string] + arguments
    let outcome = try await sandbox.run("timeout", words, environment: environment)
    if !outcome.succeeded { throw Stop(description: "spoolfs \(arguments[0]): \(outcome.testDescription)") }
  }

  private var environment: [String: String?] {
    spillDirectory.map { ["SPOOLFS_SPILL_DIR": $0.string] } ?? [:]
  }

  /// Kills while the load runs, and waits for its report.
  private func withLoad(_ command: [String], _ result: FilePath, in sandbox: Sandbox) async throws {
    var place: Beginning?
    let arguments = Array(command.dropFirst())
    let program = try await sandbox.withRunning(command[0], arguments, environment: environment) { program in
      // Whatever comes: what it waits for ends, and so does it.
      do {
        let ready = FilePath(result.string + ".ready")
        guard await eventually({ ready.exists }) else { throw Stop(description: "no load: \(program.errorTextSoFar)") }
        place = try JSONDecoder().decode(Beginning.self, from: Data(ready.bytes))
        try await Task.sleep(for: kill.delay)
        try await killVictims(in: sandbox)
        if kill.victim == .guardian {
          try await Task.sleep(for: .milliseconds(100))
          try FilePath(result.string + ".stop").write([])
        }
        isHung = await !eventually { result.exists }
      } catch {
        fail("\(error)")
        isHung = true
      }
      if isHung { release(place, sandbox) }
    }
    if isHung { fail("the load did not end") }
    report = try? JSONDecoder().decode(Report.self, from: Data(result.bytes))
    check(program.outcome)
    await checkPlace(place, in: sandbox)
  }

  private func killVictims(in sandbox: Sandbox) async throws {
    let servers = sandbox.servers
    let guardians = sandbox.processes.filter { $0.command.contains("guard-mount") }.map(\.identifier)
    guard servers.count == 1, guardians.count == 1 else {
      throw Stop(description: "servers \(servers), guardians \(guardians)")
    }
    let victims =
      switch kill.victim {
      case .server: servers
      case .guardian: guardians
      case .both: kill.seed % 2 == 0 ? guardians + servers : servers + guardians
      }
    for (index, victim) in victims.enumerated() {
      if index > 0, kill.pause > .zero { try await Task.sleep(for: kill.pause) }
      Foundation.kill(victim, SIGKILL)
    }
  }

  /// Ends a load that waits for ever.
  private func release(_ place: Beginning?, _ sandbox: Sandbox) {
    if let place { try? FilePath("/sys/fs/fuse/connections/\(place.device)/abort").write("1".utf8) }
    for process in sandbox.processes { Foundation.kill(process.identifier, SIGKILL) }
  }

  private func check(_ outcome: Outcome) {
    guard let report else { return fail("no report: \(outcome.testDescription)") }
    if report.wrong > 0 { fail("wrong bytes: \(report.details)") }
    if kill.victim == .guardian {
      if report.errors > 0 { fail("errors without a server's death: \(report.first_error ?? "")") }
      if !outcome.succeeded { fail("ended with \(outcome.testDescription)") }
    } else if report.errors == 0 {
      fail("no error, though the server died")
    } else if report.late > 0 {
      fail("\(report.late) files were made where the tree had been")
    }
  }

  /// The directory of `run` has gone; where both died it goes with the next one.
  private func checkPlace(_ place: Beginning?, in sandbox: Sandbox) async {
    guard kill.command == .run, let place else { return }
    if kill.victim == .both {
      do { try await spoolfs(["run", "true"], in: sandbox) } catch { fail("\(error)") }
    }
    let directory = FilePath(place.directory).removingLastComponent()
    if await eventually({ !directory.exists }) { return }
    fail("the directory of run is left: \(directory)")
    leftovers.append(directory.string)
    umount2(place.directory, Int32(MNT_DETACH))
    try? FileManager.default.removeItem(atPath: directory.string)
  }

  private func end(in sandbox: Sandbox) async throws {
    guard kill.command == .mount else { return }
    // A mount whose guardian is dead as well is made anew at the same place.
    if kill.victim == .both { try await spoolfs(["mount", sandbox.mountPoint.string], in: sandbox) }
    if kill.victim != .server { try await spoolfs(["unmount", sandbox.mountPoint.string], in: sandbox) }
  }
}
