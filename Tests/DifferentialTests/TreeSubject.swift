import SpoolStorage
import SystemPackage

@testable import SpoolFS

// swift-system has an `Inode` too.
private typealias Inode = SpoolFS.Inode

/// The tree in this process, with no mount.
final class TreeSubject: Subject {
  private struct Handle {
    let inode: Inode
    let mode: OpenMode
  }

  private let tree: FileSystem
  private var caller = Caller.local(user: 0, group: 0)
  private var files: [Int: Handle] = [:]
  private var listings: [Int: TreeListing] = [:]

  init(_ tree: FileSystem) { self.tree = tree }

  private func answer(_ body: () throws(Errno) -> Outcome) -> Outcome {
    do throws(Errno) { return try body() } catch { return Outcome(value: -Int64(error.rawValue)) }
  }

  private func done(_ body: () throws(Errno) -> Void) -> Outcome {
    answer { () throws(Errno) in
      try body()
      return Outcome(value: 0)
    }
  }

  private func resolve(_ path: String, follows: Bool = true) throws(Errno) -> Inode {
    try tree.resolve(FilePath(path), followingLast: follows, by: caller)
  }

  private func at(_ path: String, _ body: (UnsafeRawBufferPointer, Inode) throws(Errno) -> Void) throws(Errno) {
    let place = try tree.place(of: FilePath(path), by: caller)
    try place.withName { name throws(Errno) in try body(name, place.parent) }
  }

  private func change(_ path: String, follows: Bool = true, _ changes: AttributeChanges) throws(Errno) {
    _ = try tree.setAttributes(changes, of: resolve(path, follows: follows), by: caller)
  }

  func perform(_ operation: Operation) -> Outcome {
    let outcome = performOnNames(operation)
    if operation.changesNames { for listing in listings.values { listing.look() } }
    return outcome
  }

  private func performOnNames(_ operation: Operation) -> Outcome {
    switch operation {
    case .become(let number):
      caller = .local(user: scriptUsers[number].user, group: scriptUsers[number].group)
      return Outcome(value: 0)
    case .create(let path, let mode, let exclusive):
      return done { () throws(Errno) in try create(path, mode, exclusive) }
    case .makeDirectory(let path, let mode):
      return done { () throws(Errno) in
        try at(path) { name, parent throws(Errno) in
          _ = try tree.makeDirectory(name, in: parent, mode: mode & 0o1777, by: caller)
        }
      }
    case .makeNode(let path, let mode, let device):
      return done { () throws(Errno) in
        try at(path) { name, parent throws(Errno) in
          _ = try tree.makeNode(name, in: parent, mode: mode, device: device, by: caller)
        }
      }
    case .makeSymlink(let path, let target):
      return done { () throws(Errno) in
        try at(path) { name, parent throws(Errno) in
          let target = FileSystem.Place(parent: parent, name: Array(target.utf8))
          try target.withName { bytes throws(Errno) in
            _ = try tree.makeSymlink(name, in: parent, target: bytes, by: caller)
          }
        }
      }
    case .readSymlink(let path):
      return answer { () throws(Errno) in
        let bytes = try tree.target(of: resolve(path, follows: false)).bytes
        return Outcome(value: Int64(bytes.count), bytes: bytes)
      }
    case .link(let old, let new):
      return done { () throws(Errno) in
        let inode = try resolve(old, follows: false)
        try at(new) { name, parent throws(Errno) in try tree.link(inode, as: name, in: parent, by: caller) }
      }
    case .unlink(let path):
      return done { () throws(Errno) in
        try at(path) { name, parent throws(Errno) in try tree.unlink(name, in: parent, by: caller) }
      }
    case .removeDirectory(let path):
      return done { () throws(Errno) in
        try at(path) { name, parent throws(Errno) in try tree.removeDirectory(name, in: parent, by: caller) }
      }
    case .rename(let old, let new, let flags):
      return done { () throws(Errno) in
        // The kernel looks at the flags before the paths.
        if flags == 3 { throw .invalidArgument }
        try at(old) { name, parent throws(Errno) in
          try at(new) { newName, newParent throws(Errno) in
            try tree.rename(
              name, in: parent, to: newName, in: newParent, flags: RenameFlags(rawValue: flags), by: caller)
          }
        }
      }
    default: return performOnAttributes(operation)
    }
  }

  private func performOnAttributes(_ operation: Operation) -> Outcome {
    switch operation {
    case .changeMode(let path, let mode):
      return done { () throws(Errno) in try change(path, AttributeChanges(mode: mode)) }
    case .changeOwner(let path, let user, let group):
      return done { () throws(Errno) in
        let changes = AttributeChanges(user: user == .max ? nil : user, group: group == .max ? nil : group)
        try change(path, follows: false, changes)
      }
    case .setTimes(_, .max, .max): return Outcome(value: 0)  // UTIME_OMIT twice: the kernel does not even look
    case .setTimes(let path, let accessed, let modified):
      return done { () throws(Errno) in
        let changes = AttributeChanges(accessed: timeChange(accessed), modified: timeChange(modified))
        try change(path, follows: false, changes)
      }
    case .truncate(let path, let size):
      return done { () throws(Errno) in
        let inode = try resolve(path)
        if inode.kind == .directory { throw .isDirectory }
        if inode.kind != .regular { throw .invalidArgument }
        _ = try tree.setAttributes(AttributeChanges(size: size), of: inode, by: caller)
      }
    case .stat(let path):
      return answer { () throws(Errno) in
        Outcome(value: 0, text: describe(try resolve(path, follows: false)))
      }
    case .list(let path):
      return answer { () throws(Errno) in
        let names = try names(resolve(path)).map { $0.name + [UInt8($0.inode.kind.typeBits >> 12)] }
        return Outcome(
          value: 0, bytes: Array(names.sorted { $0.lexicographicallyPrecedes($1) }.joined(separator: [0])))
      }
    case .openListing(let slot, let path):
      return done { () throws(Errno) in
        let inode = try resolve(path)
        if inode.kind != .directory { throw .notDirectory }
        try inode.lock.withLock { () throws(Errno) in try inode.checkAccessLocked(.read, by: caller) }
        listings[slot] = TreeListing(tree, inode)
      }
    case .readListing(let slot, let count):
      listings[slot]?.read(count)
      return Outcome(value: 0)
    case .endListing(let slot): return Outcome(value: 0, text: listings.removeValue(forKey: slot)?.end() ?? "")
    case .open(let slot, let path, let mode): return done { () throws(Errno) in try open(slot, path, mode) }
    case .openUnnamed(let slot, let path):
      return done { () throws(Errno) in
        keep(try tree.createUnnamed(in: resolve(path), mode: 0o600, by: caller), .readWrite, in: slot)
      }
    default: return performOnFile(operation)
    }
  }

  private func performOnFile(_ operation: Operation) -> Outcome {
    answer { () throws(Errno) in
      switch operation {
      case .close(let slot):
        if let handle = files.removeValue(forKey: slot) { _ = tree.closed(handle.inode) }
        return Outcome(value: 0)
      case .read(let slot, let count, let offset):
        guard let handle = files[slot] else { return Outcome(value: 0) }
        guard handle.mode.reads else { throw .badFileDescriptor }
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: max(1, count), alignment: 16)
        defer { buffer.deallocate() }
        let part = UnsafeMutableRawBufferPointer(rebasing: buffer.prefix(count))
        let got = try tree.read(handle.inode, into: part, at: offset)
        return Outcome(value: Int64(got), bytes: Array(buffer.prefix(got)))
      case .write(let slot, let count, let offset, let fill):
        guard let handle = files[slot] else { return Outcome(value: 0) }
        guard handle.mode.writes else { throw .badFileDescriptor }
        // Linux's pwrite(2) on an O_APPEND descriptor appends (BUGS in its manual page).
        let offset = handle.mode == .append ? nil : Optional(offset)
        return Outcome(value: Int64(try write(handle, pattern(count, fill), at: offset)))
      case .append(let slot, let count, let fill):
        guard let handle = files[slot], handle.mode == .append else { return Outcome(value: 0) }
        return Outcome(value: Int64(try write(handle, pattern(count, fill), at: nil)))
      case .resize(let slot, let size):
        guard let handle = files[slot] else { return Outcome(value: 0) }
        guard handle.mode.writes else { throw .invalidArgument }
        _ = try tree.setAttributes(AttributeChanges(size: size), of: handle.inode, by: owner())
        if caller.user != 0 { handle.inode.lock.withLock { handle.inode.dropPrivilegeBitsLocked(by: caller) } }
        return Outcome(value: 0)
      case .allocate(let slot, let mode, let offset, let count):
        guard let handle = files[slot] else { return Outcome(value: 0) }
        guard handle.mode.writes else { throw .badFileDescriptor }
        try tree.allocate(handle.inode, mode: mode, at: offset, count: count, by: caller)
        return Outcome(value: 0)
      case .seek(let slot, let offset, let whence):
        guard let handle = files[slot], handle.mode != .append else { return Outcome(value: 0) }
        return Outcome(value: try tree.seek(handle.inode, from: offset, whence: whence))
      case .copy(let from, let fromOffset, let to, let toOffset, let count):
        return try copy(from, fromOffset, to, toOffset, count)
      default: fatalError("no file operation: \(operation)")
      }
    }
  }

  private func copy(
    _ from: Int, _ fromOffset: Int64, _ to: Int, _ toOffset: Int64, _ count: Int
  ) throws(Errno) -> Outcome {
    guard let source = files[from], let target = files[to], source.inode !== target.inode else {
      return Outcome(value: 0)
    }
    if count == 0 { return Outcome(value: 0) }
    guard source.mode.reads, target.mode.writes, target.mode != .append else { throw .badFileDescriptor }
    return Outcome(
      value: Int64(
        try tree.copyRange(
          from: source.inode, at: fromOffset, to: target.inode, at: toOffset, count: count, by: caller)))
  }

  /// Descriptors need no permission any more.
  private func owner() -> Caller { .local(user: 0, group: 0) }

  private func write(_ handle: Handle, _ bytes: [UInt8], at offset: Int64?) throws(Errno) -> Int {
    let place = FileSystem.Place(parent: handle.inode, name: bytes)
    return try place.withName { bytes throws(Errno) in
      if let offset { return try tree.write(handle.inode, bytes, at: offset, by: caller) }
      _ = try tree.append(to: handle.inode, bytes, by: caller)
      return bytes.count
    }
  }

  private func timeChange(_ nanoseconds: Int64) -> TimeChange? {
    if nanoseconds == .min { return .now }
    if nanoseconds == .max { return nil }
    let (seconds, rest) = nanoseconds.quotientAndRemainder(dividingBy: 1_000_000_000)
    return .at(Timestamp(seconds: seconds, nanoseconds: UInt32(rest)))
  }

  private func create(_ path: String, _ mode: UInt32, _ exclusive: Bool) throws(Errno) {
    if !exclusive {
      let found = try tree.find(FilePath(path), followingLast: true, by: caller)
      if let inode = found.inode {
        if inode.kind == .directory { throw .isDirectory }
        if inode.kind != .regular { return }
        try inode.lock.withLock { () throws(Errno) in try inode.checkAccessLocked(.write, by: caller) }
        return
      }
      return try found.place.withName { name throws(Errno) in
        _ = try tree.create(name, in: found.place.parent, mode: mode, exclusive: false, by: caller)
      }
    }
    try at(path) { name, parent throws(Errno) in
      _ = try tree.create(name, in: parent, mode: mode, exclusive: true, by: caller)
    }
  }

  private func open(_ slot: Int, _ path: String, _ mode: OpenMode) throws(Errno) {
    let inode = try resolve(path)
    if inode.kind != .regular, inode.kind != .directory { return }
    if inode.kind == .directory, mode.writes { throw .isDirectory }
    var wanted: AccessMask = []
    if mode.reads { wanted.insert(.read) }
    if mode.writes { wanted.insert(.write) }
    try inode.lock.withLock { () throws(Errno) in try inode.checkAccessLocked(wanted, by: caller) }
    guard inode.kind == .regular else { return }
    if mode == .truncate {
      _ = try tree.setAttributes(AttributeChanges(size: 0, modified: .now), of: inode, by: owner())
      if caller.user != 0 { inode.lock.withLock { inode.dropPrivilegeBitsLocked(by: caller) } }
    }
    keep(inode, mode, in: slot)
  }

  private func keep(_ inode: Inode, _ mode: OpenMode, in slot: Int) {
    tree.opened(inode)
    if let old = files.updateValue(Handle(inode: inode, mode: mode), forKey: slot) { _ = tree.closed(old.inode) }
  }

  private func names(_ inode: Inode, by caller: Caller? = nil) throws(Errno) -> [(name: [UInt8], inode: Inode)] {
    var names: [(name: [UInt8], inode: Inode)] = []
    try tree.enumerate(inode, after: 0, by: caller ?? self.caller) { name, inode, _ in
      names.append((Array(name), inode))
      return true
    }
    return names
  }

  private func describe(_ inode: Inode) -> String {
    let found = tree.attributes(of: inode)
    return StatText(
      mode: found.mode, links: found.linkCount, user: found.user, group: found.group, device: found.device,
      size: found.size, blocks: found.blocks
    ).description
  }

  func snapshot() -> [String] {
    caller = .local(user: 0, group: 0)
    var lines = [". \(describe(tree.root))"]
    var pending: [(Inode, String)] = [(tree.root, "")]
    while let (directory, prefix) = pending.popLast() {
      for entry in (try? names(directory)) ?? [] {
        let name = String(decoding: entry.name, as: UTF8.self)
        if name == "." || name == ".." { continue }
        var text = ""
        switch entry.inode.kind {
        case .directory: pending.append((entry.inode, prefix + name + "/"))
        case .symbolicLink:
          let bytes = (try? tree.target(of: entry.inode).bytes) ?? []
          text = Outcome(value: Int64(bytes.count), bytes: bytes).description
        case .regular: text = contents(entry.inode)
        default: break
        }
        lines.append("\(prefix)\(name) \(describe(entry.inode)) \(text)")
      }
    }
    return lines.sorted()
  }

  private func contents(_ inode: Inode) -> String {
    digest(Int(tree.attributes(of: inode).size)) { buffer, offset in
      (try? tree.read(inode, into: buffer, at: offset)) ?? -1
    }
  }
}
