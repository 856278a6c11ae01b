internal import FoundationEssentials
internal import SpoolFS
internal import SystemPackage

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
  private(set) var numbers: Numbers?
  /// Why there are no numbers.
  private(set) var problem = ""
  /// Whether there may be numbers later: the server lives, and does not answer.
  private(set) var isWaiting = false
  /// Whether the server has died.
  private(set) var isDead = false
  private var text: [UInt8] = []

  /// Asks all at the same time. Takes no longer than a few seconds, also where a server hangs.
  static func all(of mounts: [MountEntry]) -> [MountStatus] {
    let guardians = RunningGuardian.all()
    var statuses = mounts.map { MountStatus(of: $0, ServerProcess(of: $0, among: guardians)) }
    let asked = statuses.indices.filter { !statuses[$0].isWaiting }
    let outcomes = MountCall.stats.run(on: asked.map { mounts[$0] })
    for (index, outcome) in zip(asked, outcomes) { statuses[index].take(outcome) }
    for status in statuses { status.server?.close() }
    return statuses
  }

  private let server: ServerProcess?

  /// A server that is stopped is not asked: whoever waits for it keeps the mount busy.
  private init(of mount: MountEntry, _ server: ServerProcess?) {
    (self.mount, self.server) = (mount, server)
    guard let server, server.stop != nil else { return }
    (isWaiting, problem) = (true, server.description)
  }

  private mutating func take(_ outcome: MountCall.Outcome) {
    switch outcome {
    case .done(let text):
      numbers = try? JSONDecoder().decode(Numbers.self, from: Data(Self.withBytesAsCharacters(text)))
      if numbers == nil { problem = "its numbers make no sense" } else { self.text = text }
    case .failed(_, .socketNotConnected?), .failed(_, .connectionAbort?):
      (isDead, problem) = (true, "its server has died")
    case .failed(_, .permissionDenied?): problem = "it belongs to another user"
    case .failed(let failure, _): problem = failure.message
    case .noAnswer:
      (isWaiting, problem) = (
        true, server?.description ?? "its server takes longer than two seconds, and cannot be found"
      )
    }
  }

  /// The tree writes a byte that is part of no character as a lone surrogate (`\udcff`), which JSON decoders refuse. Here
  /// these become the characters that stand for bytes on the command line.
  private static func withBytesAsCharacters(_ text: [UInt8]) -> [UInt8] {
    var result: [UInt8] = []
    var rest = text[...]
    while let byte = rest.popFirst() {
      if byte == UInt8(ascii: "\\"), rest.starts(with: "udc".utf8) {
        result += Array("\\udbff\\udf".utf8)
        rest = rest.dropFirst(3)
      } else {
        result.append(byte)
        // Whatever follows a backslash belongs to it, another backslash too.
        if byte == UInt8(ascii: "\\"), let next = rest.popFirst() { result.append(next) }
      }
    }
    return result
  }

  /// The mount's own JSON object, with the member "path" in front; with "error" where there are no numbers.
  var json: String {
    let path = "{\"path\":\(JSONText.quote(mount.path.bytes))"
    guard numbers != nil else { return path + ",\"error\":\(JSONText.quote(Array(problem.utf8)))}" }
    return path + "," + JSONText.printable(String(decoding: text.dropFirst().prefix { $0 != 10 }, as: UTF8.self))
  }
}
