internal import CSpoolSystem
internal import Glibc
internal import SpoolFS
internal import SystemPackage

/// The process that serves a mount, held by a descriptor so that another one with the same number is not taken for it.
struct ServerProcess {
  let process: pid_t
  private let descriptor: FileDescriptor

  /// The server of `mount`: the parent of the guardian that was started for this mount point. Nil: both cannot be found.
  init?(of mount: MountEntry, among guardians: [RunningGuardian] = RunningGuardian.all()) {
    for guardian in guardians where guardian.watches(mount) {
      let descriptor = spool_pidfd_open(guardian.parent)
      guard descriptor >= 0 else { continue }
      let server = ProcessStatus(of: guardian.parent)
      // Anybody may start a process that looks like a guardian, as a child of whatever process.
      guard server?.name == "spoolfs", server?.user == mount.owner,
        ProcessStatus(of: guardian.process)?.parent == guardian.parent
      else {
        Glibc.close(descriptor)
        continue
      }
      self.descriptor = FileDescriptor(rawValue: descriptor)
      process = guardian.parent
      return
    }
    return nil
  }

  func close() { try? descriptor.close() }

  /// Whether it ends within so many milliseconds, so that its memory and disk space are free.
  func ends(within milliseconds: Int) -> Bool {
    let deadline = ContinuousClock.now + .milliseconds(milliseconds)
    while true {
      var event = pollfd(fd: descriptor.rawValue, events: Int16(POLLIN), revents: 0)
      let count = poll(&event, 1, Int32(max(.zero, deadline - .now) / .milliseconds(1)))
      if count >= 0 || errno != EINTR { return count > 0 }
    }
  }

  /// SIGKILL.
  func end() throws(Errno) {
    if spool_pidfd_kill(descriptor.rawValue) != 0, errno != ESRCH { throw Errno(rawValue: errno) }
  }

  /// Why it may not answer, as the end of a sentence; nil where nothing tells.
  var stop: String? {
    switch ProcessStatus(of: process)?.state {
    case "T", "t": return "is stopped"
    case _ where isFrozen: return "is frozen with its control group"
    default: return nil
    }
  }

  /// "its server, process 12, is in state D".
  var description: String {
    let state = stop ?? "is in state \(ProcessStatus(of: process).map { String($0.state) } ?? "?")"
    return "its server, process \(process), \(state)"
  }

  /// Whether the freezer of its control group (version 2) holds it.
  private var isFrozen: Bool {
    guard let text = try? readFile(FilePath("/proc/\(process)/cgroup")),
      let line = text.split(separator: 10).first(where: { $0.starts(with: "0::/".utf8) }),
      let events = try? readFile(path("/sys/fs/cgroup".utf8 + Array(line.dropFirst(3))).appending("cgroup.events"))
    else { return false }
    return events.split(separator: 10).contains { $0.elementsEqual("frozen 1".utf8) }
  }
}

/// A guardian, and whose child it is.
struct RunningGuardian {
  let process: pid_t
  let parent: pid_t
  private let mountPoint: FilePath
  private let user: uid_t?

  /// All of this system that can be seen.
  static func all() -> [RunningGuardian] { directoryEntries("/proc").compactMap { Int32($0) }.compactMap(Self.init) }

  private init?(_ process: pid_t) {
    // The name first: to read the command line of a process that waits for its own memory would wait as well.
    guard let status = ProcessStatus(of: process), status.name == "spoolfs",
      let words = (try? readFile(FilePath("/proc/\(process)/cmdline")))?.split(separator: 0), words.count >= 3,
      words[1].elementsEqual(Guardian.argument.utf8),
      // An orphan's parent is init, or whoever adopts.
      status.parent > 1
    else { return nil }
    (self.process, parent, user) = (process, status.parent, status.user)
    mountPoint = path(words[2])
  }

  /// Whether it belongs to that mount, and not to one at the same place of another mount namespace.
  func watches(_ mount: MountEntry) -> Bool {
    guard mountPoint == mount.path, user == mount.owner else { return false }
    guard let entries = try? MountTable.entries(ofProcess: String(process)) else { return true }
    return entries.contains { $0.isSameDevice(as: mount) && $0.path == mountPoint }
  }
}

/// What /proc tells everybody of a process, whoever owns it.
struct ProcessStatus {
  let name: String
  let state: Character
  let parent: pid_t
  /// The effective user. The owner of /proc/N is root where the process is not dumpable.
  let user: uid_t?

  init?(of process: pid_t) {
    guard let text = try? readFile(FilePath("/proc/\(process)/status")) else { return nil }
    var fields: [Substring: Substring] = [:]
    for line in String(decoding: text, as: UTF8.self).split(separator: "\n") {
      let parts = line.split(separator: ":", maxSplits: 1)
      if parts.count == 2 { fields[parts[0]] = parts[1].drop { $0 == "\t" || $0 == " " } }
    }
    guard let name = fields["Name"], let state = fields["State"]?.first,
      let parent = fields["PPid"].flatMap({ pid_t($0) })
    else { return nil }
    (self.name, self.state, self.parent) = (String(name), state, parent)
    let users = fields["Uid"]?.split(separator: "\t") ?? []
    user = users.count > 1 ? uid_t(users[1]) : nil
  }
}
