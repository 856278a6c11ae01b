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
      A tree that does not answer within two seconds is told as such, and the exit status is 75; it is 1 where a server \
      has died.

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
      let status = MountStatus.all(of: [mount])[0]
      guard let numbers = status.numbers else {
        throw CommandFailure(
          status.isWaiting ? .busy : .other, "\(mount.path.escaped) does not answer: \(status.problem)")
      }
      print(json ? status.json : Self.details(numbers))
    } else {
      let all = MountStatus.all(of: try MountTable.spoolfsEntries())
      print(json ? "[" + all.map(\.json).joined(separator: ",\n ") + "]" : Self.table(all))
      if all.contains(where: \.isWaiting) { throw ExitCode(CommandFailure.Kind.busy.rawValue) }
      if all.contains(where: \.isDead) { throw ExitCode(CommandFailure.Kind.other.rawValue) }
    }
  }

  private static func details(_ numbers: MountStatus.Numbers) -> String {
    let disk =
      "\(bytes(numbers.disk_bytes))\(numbers.spill_capacity.map { " of " + bytes($0) } ?? "")"
      + (numbers.spill_directory.map { " in \(shown($0))" } ?? "")
      + (numbers.spill_encrypted == true ? ", encrypted" : "")
    return """
      memory     \(bytes(numbers.memory_bytes)) of \(bytes(numbers.memory_budget))
      disk       \(disk)
      data       \(bytes(numbers.data_bytes))\(numbers.size_limit.map { " of " + bytes($0) } ?? "")
      free       \(blocks(numbers.free_blocks)) of \(blocks(numbers.total_blocks))
      inodes     \(numbers.inodes)\(numbers.inode_limit.map { " of \($0)" } ?? "")
      on disk    \(numbers.spilled_files) files, \(numbers.rollovers) rollovers
      threshold  \(numbers.threshold.map(bytes) ?? "unlimited")
      lifetime   \(shown(numbers.lifetime))
      transport  \(shown(numbers.mount?.transport ?? "none"))\(numbers.mount?.ring_obstacle.map { " (\(shown($0)))" } ?? "")
      """
  }

  /// What a mount says of itself; whose mount it is nobody knows.
  private static func shown(_ text: String) -> String { TerminalText.escape(CommandLineBytes.bytes(text)) }

  private static func table(_ all: [MountStatus]) -> String {
    var rows = [["MEMORY", "DISK", "FREE", "INODES", "MOUNTED ON"]]
    for status in all {
      guard let numbers = status.numbers else {
        rows.append(["-", "-", "-", "-", "\(status.mount.path.escaped) (\(status.problem))"])
        continue
      }
      rows.append([
        bytes(numbers.memory_bytes), bytes(numbers.disk_bytes), blocks(numbers.free_blocks),
        String(numbers.inodes), status.mount.path.escaped,
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
