import CHostCalls
import Glibc

/// A directory of the host: tmpfs, or a mount of ours.
final class HostSubject: Subject {
  private let root: Int32
  private var user = 0
  private var files: [Int: Int32] = [:]
  private var listings: [Int: HostListing] = [:]
  private let syncsBeforeSnapshot: Bool
  private let comparesBlocks: Bool
  private let stampOrder: StampOrder?
  private let timesInTree: ((String) -> [Int64]?)?
  private var steps = 0

  /// - Parameters:
  ///   - syncsBeforeSnapshot: whether the kernel may hold data that the subject has not seen yet.
  ///   - stampOrder: what tells stamps that are too early, here and in other directories.
  ///   - timesInTree: modification and change time of a path as they are where nobody caches them.
  init(
    _ root: String, syncsBeforeSnapshot: Bool = false, comparesBlocks: Bool = true,
    stampOrder: StampOrder? = nil, timesInTree: ((String) -> [Int64]?)? = nil
  ) {
    self.stampOrder = stampOrder
    self.timesInTree = timesInTree
    self.root = Int32(host_open(root, O_RDONLY | O_DIRECTORY, 0))
    precondition(self.root >= 0, "cannot open \(root)")
    self.syncsBeforeSnapshot = syncsBeforeSnapshot
    self.comparesBlocks = comparesBlocks
  }

  deinit {
    host_become(0, 0)
    for file in files.values { _ = host_close(file) }
    _ = host_close(root)
  }

  /// Makes the subject's directory the root of this thread, which may act as another user.
  private func enter() {
    host_become(0, 0)
    let entered = host_enter(root)
    precondition(entered == 0, "cannot enter the subject's directory: \(entered)")
    host_become(scriptUsers[user].user, scriptUsers[user].group)
  }

  func perform(_ operation: Operation) -> Outcome {
    enter()
    // Not each time: to look may change what the kernel knows.
    steps += 1
    let outcome = stampOrder != nil && steps % 4 == 0 ? performWatchingStamps(operation) : performEntered(operation)
    if operation.changesNames, !listings.isEmpty {
      host_become(0, 0)
      for listing in listings.values { listing.look() }
    }
    return outcome
  }

  /// Performs the operation and adds to its outcome which stamps are too early.
  private func performWatchingStamps(_ operation: Operation) -> Outcome {
    guard let stampOrder else { return performEntered(operation) }
    let (before, file) = (stamps(of: operation), operation.stampedSlot.flatMap { files[$0] })
    let fileBefore = file.flatMap { stamps(of: $0) }
    var outcome = performEntered(operation)
    let after = Array(zip(before, stamps(of: operation))) + (file.map { [(fileBefore, stamps(of: $0))] } ?? [])
    // A rename that changes a directory of its own paths leaves them on files that it has not touched.
    let renamed = operation.isRename ? Set((before + [fileBefore]).compactMap { $0?.inode }) : nil
    for (before, after) in after where renamed.map({ $0.contains(after?.inode ?? 0) }) ?? true {
      outcome.text += stampOrder.add(before, after, setsTimes: operation.setsTimes)
    }
    stampOrder.endOperation()
    return outcome
  }

  /// As root, who may look everywhere.
  private func stamps(of operation: Operation) -> [StampOrder.Stamps?] {
    host_become(0, 0)
    defer { host_become(scriptUsers[user].user, scriptUsers[user].group) }
    return operation.stampedNames.map { name in
      var found = host_stat()
      return host_stat(name, &found) == 0 ? StampOrder.Stamps(found) : nil
    }
  }

  private func stamps(of file: Int32) -> StampOrder.Stamps? {
    var found = host_stat()
    return host_stat_open(file, &found) == 0 ? StampOrder.Stamps(found) : nil
  }

  private func performEntered(_ operation: Operation) -> Outcome {
    switch operation {
    case .become(let number):
      user = number
      return Outcome(value: 0)
    case .create(let name, let mode, let exclusive):
      if !exclusive, isSpecial(name) { return Outcome(value: 0) }
      let file = host_open(name, O_CREAT | O_WRONLY | (exclusive ? O_EXCL : 0), mode)
      return Outcome(value: file >= 0 ? host_close(Int32(file)) : file)
    case .makeDirectory(let name, let mode): return Outcome(value: host_make_directory(name, mode))
    case .makeNode(let name, let mode, let device): return Outcome(value: host_make_node(name, mode, device))
    case .makeSymlink(let name, let target): return Outcome(value: host_make_symlink(target, name))
    case .readSymlink(let name): return readSymlink(name)
    case .link(let old, let new): return Outcome(value: host_link(old, new))
    case .unlink(let name): return Outcome(value: host_unlink(name))
    case .removeDirectory(let name): return Outcome(value: host_remove_directory(name))
    case .rename(let old, let new, let flags): return Outcome(value: host_rename(old, new, flags))
    case .changeMode(let name, let mode): return Outcome(value: host_change_mode(name, mode))
    case .changeOwner(let name, let user, let group): return Outcome(value: host_change_owner(name, user, group))
    case .setTimes(let name, let accessed, let modified):
      return Outcome(value: host_set_times(name, accessed, modified))
    case .truncate(let name, let size): return Outcome(value: host_truncate(name, size))
    case .stat(let name): return stat(name)
    case .list(let name): return list(name)
    case .openListing(let slot, let name):
      let directory = host_open(name, O_RDONLY | O_DIRECTORY, 0)
      if directory < 0 { return Outcome(value: directory) }
      listings[slot] = HostListing(Int32(directory))
      return Outcome(value: 0)
    case .readListing(let slot, let count):
      listings[slot]?.read(count)
      return Outcome(value: 0)
    case .endListing(let slot):
      return Outcome(value: 0, text: listings.removeValue(forKey: slot)?.end() ?? "")
    case .open(let slot, let name, let mode): return open(slot, name, mode)
    case .openUnnamed(let slot, let name):
      return keep(host_open_unnamed(name, 0o600), in: slot)
    default: return performOnFile(operation)
    }
  }

  private func performOnFile(_ operation: Operation) -> Outcome {
    switch operation {
    case .close(let slot):
      guard let file = files.removeValue(forKey: slot) else { return Outcome(value: 0) }
      return Outcome(value: host_close(file))
    case .read(let slot, let count, let offset):
      guard let file = files[slot] else { return Outcome(value: 0) }
      var value: Int64 = 0
      let bytes = [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
        value = host_read(file, buffer.baseAddress, count, offset)
        initialized = max(0, Int(value))
      }
      return Outcome(value: value, bytes: bytes)
    case .write(let slot, let count, let offset, let fill):
      guard let file = files[slot] else { return Outcome(value: 0) }
      return Outcome(value: host_write(file, pattern(count, fill), count, offset))
    case .append(let slot, let count, let fill):
      guard let file = files[slot] else { return Outcome(value: 0) }
      // A file opened without O_APPEND has a position of its own, which the script does not use.
      guard fcntl(file, F_GETFL) & O_APPEND != 0 else { return Outcome(value: 0) }
      return Outcome(value: host_append(file, pattern(count, fill), count))
    case .resize(let slot, let size):
      guard let file = files[slot] else { return Outcome(value: 0) }
      return Outcome(value: host_resize(file, size))
    case .allocate(let slot, let mode, let offset, let count):
      guard let file = files[slot] else { return Outcome(value: 0) }
      return Outcome(value: host_allocate(file, mode, offset, count))
    case .seek(let slot, let offset, let whence):
      guard let file = files[slot], fcntl(file, F_GETFL) & O_APPEND == 0 else { return Outcome(value: 0) }
      return Outcome(value: host_seek(file, offset, whence))
    case .copy(let from, let fromOffset, let to, let toOffset, let count):
      guard let source = files[from], let target = files[to], from != to else { return Outcome(value: 0) }
      return copy(source, fromOffset, target, toOffset, count)
    default: fatalError("no file operation: \(operation)")
    }
  }

  private func open(_ slot: Int, _ name: String, _ mode: OpenMode) -> Outcome {
    let flags =
      switch mode {
      case .read: O_RDONLY
      case .write: O_WRONLY
      case .readWrite: O_RDWR
      case .append: O_WRONLY | O_APPEND
      case .truncate: O_RDWR | O_TRUNC
      }
    if isSpecial(name) { return Outcome(value: 0) }
    let file = host_open(name, flags, 0)
    var found = Glibc.stat()
    if file >= 0, fstat(Int32(file), &found) == 0, found.st_mode & S_IFMT == S_IFDIR {
      return Outcome(value: host_close(Int32(file)))
    }
    return keep(file, in: slot)
  }

  /// What opening a FIFO, socket or device does is the kernel's business alone.
  private func isSpecial(_ path: String) -> Bool {
    var found = Glibc.stat()
    return fstatat(AT_FDCWD, path, &found, 0) == 0 && ![S_IFREG, S_IFDIR].contains(found.st_mode & S_IFMT)
  }

  private func keep(_ file: Int64, in slot: Int) -> Outcome {
    if file < 0 { return Outcome(value: file) }
    if let old = files.updateValue(Int32(file), forKey: slot) { _ = host_close(old) }
    return Outcome(value: 0)
  }

  /// As often as it takes, since one call may copy a part.
  private func copy(_ from: Int32, _ fromOffset: Int64, _ to: Int32, _ toOffset: Int64, _ count: Int) -> Outcome {
    // Two descriptors of one file with overlapping ranges: EINVAL everywhere, or a race of pages; left out.
    var source = Glibc.stat()
    var target = Glibc.stat()
    fstat(from, &source)
    fstat(to, &target)
    if source.st_ino == target.st_ino { return Outcome(value: 0) }
    var done: Int64 = 0
    while done < Int64(count) {
      let part = host_copy(from, fromOffset + done, to, toOffset + done, count - Int(done))
      if part < 0 { return Outcome(value: done > 0 ? done : part) }
      if part == 0 { break }
      done += part
    }
    return Outcome(value: done)
  }

  private func readSymlink(_ path: String) -> Outcome {
    var buffer = [CChar](repeating: 0, count: 4096)
    let count = host_read_symlink(path, &buffer, buffer.count)
    return Outcome(value: count, bytes: buffer.prefix(max(0, Int(count))).map { UInt8(bitPattern: $0) })
  }

  private func stat(_ path: String) -> Outcome {
    var found = host_stat()
    let value = host_stat(path, &found)
    return Outcome(value: value, text: value == 0 ? describe(found) : "")
  }

  private func describe(_ found: host_stat) -> String {
    StatText(
      mode: found.mode, links: found.link_count, user: found.user, group: found.group, device: found.device,
      size: found.size, blocks: comparesBlocks ? found.blocks : nil
    ).description
  }

  private func list(_ path: String) -> Outcome {
    guard let names = names(path) else { return Outcome(value: Int64(-errno)) }
    return Outcome(value: 0, bytes: Array(names.sorted { $0.lexicographicallyPrecedes($1) }.joined(separator: [0])))
  }

  private func names(_ path: String) -> [[UInt8]]? {
    guard let stream = opendir(path) else { return nil }
    defer { closedir(stream) }
    var names: [[UInt8]] = []
    while let entry = readdir(stream) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: UInt8.self, capacity: 256) { Array(UnsafeBufferPointer(start: $0, count: strlen($0))) }
      }
      names.append(name + [entry.pointee.d_type])
    }
    return names
  }

  func snapshot() -> [String] {
    user = 0
    enter()
    var found = host_stat()
    _ = host_stat(".", &found)
    var lines = [". \(describe(found))"]
    var pending = ["."]
    while let directory = pending.popLast() {
      for entry in names(directory) ?? [] {
        let name = String(decoding: entry.dropLast(), as: UTF8.self)
        if name == "." || name == ".." { continue }
        let relative = directory == "." ? name : directory + "/" + name
        lines.append(line(relative, &pending))
      }
    }
    return lines.sorted()
  }

  private func line(_ relative: String, _ pending: inout [String]) -> String {
    var found = host_stat()
    _ = host_stat(relative, &found)
    var text = ""
    switch found.mode & S_IFMT {
    case S_IFDIR: pending.append(relative)
    case S_IFLNK: text = readSymlink(relative).description
    case S_IFREG: text = contents(relative, Int(found.size))
    default: break
    }
    if syncsBeforeSnapshot { _ = host_stat(relative, &found) }
    let times = [found.modified, found.changed]
    let inTree = timesInTree?(relative) ?? times
    return "\(relative) \(describe(found)) \(text)" + (times == inTree ? "" : " times \(times), in the tree \(inTree)")
  }

  private func contents(_ path: String, _ size: Int) -> String {
    let file = host_open(path, O_RDONLY, 0)
    guard file >= 0 else { return "unreadable \(file)" }
    defer { _ = host_close(Int32(file)) }
    if syncsBeforeSnapshot { _ = host_sync(Int32(file)) }
    return digest(size) { buffer, offset in Int(host_read(Int32(file), buffer.baseAddress, buffer.count, offset)) }
  }
}

/// What stat(2) says, as far as two filesystems can agree.
struct StatText: CustomStringConvertible {
  let mode: UInt32
  let links: UInt32
  let user: UInt32
  let group: UInt32
  let device: UInt64
  let size: Int64
  let blocks: Int64?

  var description: String {
    "mode=\(String(mode, radix: 8)) links=\(links) owner=\(user):\(group) device=\(device) size=\(size)"
      + (blocks.map { " blocks=\($0)" } ?? "")
  }
}

func pattern(_ count: Int, _ fill: UInt8) -> [UInt8] {
  (0..<count).map { fill &+ UInt8(truncatingIfNeeded: $0 / 7) }
}

/// A digest of `size` bytes, the same for the same bytes in this process.
func digest(_ size: Int, _ read: (UnsafeMutableRawBufferPointer, Int64) -> Int) -> String {
  var hasher = Hasher()
  var done = 0
  let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 65536, alignment: 4096)
  defer { buffer.deallocate() }
  while done < size {
    let count = read(UnsafeMutableRawBufferPointer(rebasing: buffer.prefix(size - done)), Int64(done))
    if count <= 0 { return "short \(done) of \(size): \(count)" }
    hasher.combine(bytes: UnsafeRawBufferPointer(rebasing: buffer.prefix(count)))
    done += count
  }
  return String(hasher.finalize(), radix: 16)
}
