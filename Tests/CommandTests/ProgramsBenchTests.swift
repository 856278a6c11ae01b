import Foundation
import SystemPackage
import TestSupport
import Testing

extension CommandTests {
  /// The benchmark works; what it measures is no test's business.
  @Suite(.serialized, .timeLimit(.minutes(10))) struct ProgramsBenchTests {
    private static let ring = FilePath("/sys/module/fuse/parameters/enable_uring")
    /// Whether the benchmark may turn the kernel's ring on.
    private static let canHaveRing =
      (KernelRingSwitch.isOn || KernelRingSwitch.isUsable)
      && FilePath("/proc/sys/kernel/io_uring_disabled").bytes.first != UInt8(ascii: "2")

    /// What `--json` writes, as far as it is looked at.
    private struct Report: Decodable {
      struct Place: Decodable {
        var name: String
        var transport: String?
      }
      struct Case: Decodable {
        var suite: String
        var samples: [String: [Double?]]
        var ratio: [String: Double?]
      }
      var places: [Place]
      var cases: [String: Case]

      init(of file: FilePath) throws {
        self = try JSONDecoder().decode(Report.self, from: Data(file.bytes))
      }
    }

    private func bench(
      _ arguments: [String], in sandbox: Sandbox, through wrapper: [String] = []
    ) async throws -> Outcome {
      let script = FilePath(#filePath).removingLastComponent().removingLastComponent().removingLastComponent()
        .appending("scripts/bench")
      let before = FilePath("/dev/shm").entries
      let outcome = try await sandbox.run(
        "env", wrapper + [script.string] + arguments, environment: ["SPOOLFS_EXECUTABLE": Sandbox.executable.string])
      let left = FilePath("/dev/shm").entries.filter { $0.hasPrefix("spoolfs-bench-") && !before.contains($0) }
      #expect(left.isEmpty)
      return outcome
    }

    @Test func everyCaseWorksInEveryPlaceAndLeavesNothing() async throws {
      try await Sandbox.with { sandbox in
        let places = ["device-writeback", "run-device-writethrough", "device-nocache", "tmpfs", "disk", "other"]
        let outcome = try await bench(
          [
            "--quick", "--places=\(places.dropLast().joined(separator: ","))", "--dir=other=\(sandbox.work)",
            "--json=result.json", "--svg=plot.svg",
          ], in: sandbox)
        // Nothing on stderr: no case failed.
        #expect(outcome.succeeded && outcome.errorOutput.isEmpty, "\(outcome.testDescription)")
        let report = try Report(of: sandbox.work.appending("result.json"))
        #expect(report.places.map(\.name) == places)
        #expect(report.cases.count > 35)
        for (name, measured) in report.cases {
          for place in places {
            // Nothing serves these, and a stream that is to spill is not for memory.
            if name == "idle" && ["tmpfs", "disk", "other"].contains(place) { continue }
            if measured.suite == "spill" && place == "tmpfs" { continue }
            #expect(measured.samples[place]?.count == 1, "\(name) in \(place)")
          }
        }
        #expect(outcome.text.contains("geometric mean") && outcome.text.contains("cycle, device, two clients"))
        let plot = String(decoding: sandbox.work.appending("plot.svg").bytes, as: UTF8.self)
        #expect(plot.hasPrefix("<svg") && plot.contains("append-100, run-device-writethrough: "))
        let parsing = try await sandbox.run(
          "python3", ["-c", "import xml.dom.minidom as dom; dom.parse('plot.svg')"])
        #expect(parsing.succeeded, "\(parsing.testDescription)")
      }
    }

    @Test(.enabled(if: canHaveRing, "the kernel's ring cannot be turned on here"))
    func theRingIsTurnedOnWhileItIsMountedAndBack() async throws {
      try await Sandbox.with { sandbox in
        let before = Self.ring.bytes
        let outcome = try await bench(
          [
            "--quick", "--places=ring-writethrough,run-ring-writeback,tmpfs", "--only=cycle*", "--only=clone",
            "--json=result.json",
          ], in: sandbox)
        #expect(outcome.succeeded && outcome.errorOutput.isEmpty, "\(outcome.testDescription)")
        let report = try Report(of: sandbox.work.appending("result.json"))
        #expect(report.places.map(\.transport) == ["ring", "ring", nil])
        #expect(Self.ring.bytes == before)
      }
    }

    @Test func manyFilesAndLongStreamsWork() async throws {
      try await Sandbox.with { sandbox in
        let outcome = try await bench(
          ["--quick", "--scale", "--places=device,tmpfs", "--json=result.json"], in: sandbox)
        #expect(outcome.succeeded && outcome.errorOutput.isEmpty, "\(outcome.testDescription)")
        let report = try Report(of: sandbox.work.appending("result.json"))
        #expect(report.cases.values.allSatisfy { $0.samples["device"]?.count == 1 })
        #expect(outcome.text.contains("create-10k .. create-1m"))
      }
    }

    @Test func whatWasMeasuredBeforeAnInterruptIsReported() async throws {
      try await Sandbox.with { sandbox in
        let outcome = try await bench(
          ["--suite=micro", "--only=stat", "--rounds=100000", "--places=tmpfs", "--json=result.json"], in: sandbox,
          through: ["timeout", "--foreground", "--signal=TERM", "20"])
        #expect(
          outcome.errorText.contains("interrupted") && outcome.text.contains("stat "), "\(outcome.testDescription)")
        let report = try Report(of: sandbox.work.appending("result.json"))
        #expect(report.cases["stat"]?.samples["tmpfs"]?.isEmpty == false)
      }
    }

    @Test func severalRunsAreReportedAsOne() async throws {
      try await Sandbox.with { sandbox in
        for (file, only) in [("a.json", "mkdir"), ("b.json", "readdir")] {
          let outcome = try await bench(
            ["--quick", "--suite=micro", "--places=tmpfs,disk", "--only=\(only)", "--only=rename", "--json=\(file)"],
            in: sandbox)
          #expect(outcome.succeeded, "\(outcome.testDescription)")
        }
        let outcome = try await bench(["--merge", "a.json", "b.json", "--json=all.json"], in: sandbox)
        #expect(outcome.succeeded && outcome.errorOutput.isEmpty, "\(outcome.testDescription)")
        let parts = try ["a.json", "b.json"].map { try Report(of: sandbox.work.appending($0)) }
        let all = try Report(of: sandbox.work.appending("all.json"))
        let renames = parts.flatMap { $0.cases["rename"]?.samples["disk"] ?? [] }
        #expect(renames.count == 2 && all.cases["rename"]?.samples["disk"] == renames)
        #expect(Set(all.cases.keys) == Set(parts.flatMap(\.cases.keys)))
      }
    }

    @Test(arguments: [
      (["--places=ring-write"], "no place called ring-write"), (["--places=writeback-ring"], "no place called"),
      (["--suite=nano"], "no suite called nano"), (["--only=nothing"], "no such case"),
      (["--dir=here"], "not NAME=PATH"), (["--dir=x=/nowhere"], "not NAME=PATH"),
      (["--merge", "nowhere.json"], "nowhere.json"), (["--rounds=0"], "above 0"),
    ])
    func wrongUseIsToldBeforeAnythingIsMounted(arguments: [String], message: String) async throws {
      try await Sandbox.with { sandbox in
        let outcome = try await bench(arguments, in: sandbox)
        #expect(outcome.exitCode == 1 && outcome.errorText.hasPrefix("bench: "), "\(outcome.testDescription)")
        #expect(outcome.errorText.contains(message), "\(outcome.testDescription)")
      }
    }
  }
}
