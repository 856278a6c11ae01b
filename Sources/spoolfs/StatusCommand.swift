internal import ArgumentParser
internal import FoundationEssentials
internal import SpoolFS
internal import SystemPackage

/// `spoolfs status`: what mounted trees hold.
struct StatusCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "status",
    abstract: "Show what a mounted tree holds in memory and on disk; without DIR, all trees.",
    usage: "spoolfs status [--json] [DIR]",
    discussion: """
      With --json, DIR's numbers as one JSON object, or all trees' in an array. They come from the file
      DIR/.spoolfs/stats; DIR/.spoolfs/files has a line for each file.

      Examples:
        spoolfs status
        spoolfs status --json /mnt/scratch
      """)

  @Flag(help: "Print the numbers as JSON.")
  var json = false

  @Argument(help: ArgumentHelp("The directory a tree is mounted on.", valueName: "dir"))
  var directory: String?

  func run() throws {
    try Preconditions.checkProc()
    if let directory {
      let mount = try OwnMount.at(CommandLineBytes.path(directory))
      let status = MountStatus(of: mount)
      guard let numbers = status.numbers else {
        throw CommandFailure(.other, "\(mount.path) does not answer: \(status.problem)")
      }
      print(json ? status.json : Self.details(numbers))
    } else {
      let all = try MountTable.spoolfsEntries().map(MountStatus.init)
      print(json ? "[" + all.map(\.json).joined(separator: ",\n ") + "]" : Self.table(all))
    }
  }

  private static func details(_ numbers: MountStatus.Numbers) -> String {
    let disk =
      "\(bytes(numbers.disk_bytes))\(numbers.spill_capacity.map { " of " + bytes($0) } ?? "")"
      + (numbers.spill_directory.map { " in \($0)" } ?? "") + (numbers.spill_encrypted == true ? ", encrypted" : "")
    return """
      memory     \(bytes(numbers.memory_bytes)) of \(bytes(numbers.memory_budget))
      disk       \(disk)
      data       \(bytes(numbers.data_bytes))\(numbers.size_limit.map { " of " + bytes($0) } ?? "")
      free       \(blocks(numbers.free_blocks)) of \(blocks(numbers.total_blocks))
      inodes     \(numbers.inodes)\(numbers.inode_limit.map { " of \($0)" } ?? "")
      on disk    \(numbers.spilled_files) files, \(numbers.rollovers) rollovers
      threshold  \(numbers.threshold.map(bytes) ?? "unlimited")
      lifetime   \(numbers.lifetime)
      transport  \(numbers.mount?.transport ?? "none")\(numbers.mount?.ring_obstacle.map { " (\($0))" } ?? "")
      """
  }

  private static func table(_ all: [MountStatus]) -> String {
    var rows = [["MEMORY", "DISK", "FREE", "INODES", "MOUNTED ON"]]
    for status in all {
      guard let numbers = status.numbers else {
        rows.append(["-", "-", "-", "-", "\(status.mount.path) (\(status.problem))"])
        continue
      }
      rows.append([
        bytes(numbers.memory_bytes), bytes(numbers.disk_bytes), blocks(numbers.free_blocks),
        String(numbers.inodes), status.mount.path.string,
      ])
    }
    let widths = rows[0].indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
    return rows.map { row in
      row.indices.map { $0 == row.count - 1 ? row[$0] : pad(row[$0], to: widths[$0]) }.joined(separator: "  ")
    }.joined(separator: "\n")
  }

  private static func pad(_ text: String, to width: Int) -> String {
    String(repeating: " ", count: width - text.count) + text
  }

  /// "1.5 GiB": at most one digit after the point.
  static func bytes(_ count: Int64) -> String {
    var (whole, rest, unit) = (count, Int64(0), 0)
    while whole >= 1024, unit < 6 { (whole, rest, unit) = (whole / 1024, whole % 1024, unit + 1) }
    let tenths = rest * 10 / 1024
    return "\(whole)\(tenths == 0 ? "" : ".\(tenths)") \(["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"][unit])"
  }

  /// Bytes of that many blocks. The number is what the mount says, and whose mount it is nobody knows.
  private static func blocks(_ count: Int64) -> String {
    let (bytes, overflows) = count.multipliedReportingOverflow(by: 4096)
    return Self.bytes(overflows ? .max : bytes)
  }
}

/// What a mount tells of itself.
struct MountStatus {
  /// The members of `.spoolfs/stats` that are shown; a limit that is null is none.
  struct Numbers: Decodable {
    var memory_bytes, memory_budget, disk_bytes, data_bytes: Int64
    var spill_capacity, size_limit, threshold, inode_limit: Int64?
    var spill_directory: String?
    var spilled_files, rollovers, inodes, total_blocks, free_blocks: Int64
    var spill_encrypted: Bool?
    var lifetime: String
    /// What is told of a mount alone.
    var mount: Mount?

    struct Mount: Decodable {
      var transport: String
      var ring_obstacle: String?
    }
  }

  let mount: MountEntry
  let numbers: Numbers?
  /// Why there are no numbers.
  let problem: String
  private let text: [UInt8]

  init(of mount: MountEntry) {
    self.mount = mount
    do {
      let text = try readFile(mount.path.pushing(".spoolfs/stats"))
      let numbers = try JSONDecoder().decode(Numbers.self, from: Data(text))
      (self.text, self.numbers, problem) = (text, numbers, "")
    } catch {
      (text, numbers) = ([], nil)
      problem =
        switch error {
        case Errno.socketNotConnected, Errno.connectionAbort: "its server has died"
        case Errno.permissionDenied: "it belongs to another user"
        case let error as Errno: error.description
        default: "its numbers make no sense"
        }
    }
  }

  /// The mount's own JSON object, with the member "path" in front; with "error" where there are no numbers.
  var json: String {
    let path = "{\"path\":\(Self.quote(mount.path.string))"
    guard numbers != nil else { return path + ",\"error\":\(Self.quote(problem))}" }
    return path + "," + String(decoding: text.dropFirst().prefix { $0 != 10 }, as: UTF8.self)
  }

  private static func quote(_ text: String) -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = .withoutEscapingSlashes
    return (try? String(decoding: encoder.encode(text), as: UTF8.self)) ?? "null"
  }
}
