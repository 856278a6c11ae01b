import SpoolStorage
internal import SystemPackage

// The hidden directory `.spoolfs` in the root: status without a client. It is not listed, and nobody can make or remove
// its name. Each lookup of a file in it makes a new inode with the text as it is at that moment, so that no open(2) sees
// an old one although the kernel caches what it reads.
//
// The owner of the root and root may read them. The owner need not be allowed to see everything: with `allow_other` others
// have directories of their own. So the listing has what its reader would find himself.

extension FileSystem {
  private static let statusName: StaticString = ".spoolfs"
  private static let statsName: StaticString = "stats"
  private static let filesName: StaticString = "files"
  /// Of the listing while it is made, more than most take.
  private static let bytesPerLine = 1024

  func isStatusDirectory(_ name: UnsafeRawBufferPointer, in parent: Inode) -> Bool {
    parent === root && name.count == Self.statusName.utf8CodeUnitCount && name.equals(Self.statusName)
  }

  /// The status directory or a new snapshot, where `name` is one of theirs.
  ///
  /// - Throws: ENOMEM where there is no memory for the text.
  func statusNode(_ name: UnsafeRawBufferPointer, in parent: Inode, by caller: Caller) throws(Errno) -> Inode? {
    if isStatusDirectory(name, in: parent) { return statusDirectory }
    guard parent === statusDirectory else { return nil }
    if name.equals(Self.statsName) {
      return makeSnapshot(Array((statistics().json + "\n").utf8), number: Self.statsNumber)
    }
    if name.equals(Self.filesName) {
      guard AddressSpace.hasRoom(for: quota.count * Self.bytesPerLine) else { throw .noMemory }
      return makeSnapshot(fileListing(for: caller), number: Self.filesNumber)
    }
    return nil
  }

  func enumerateStatus(
    after cookie: UInt64, by caller: Caller, _ body: (UnsafeRawBufferPointer, Inode, UInt64) -> Bool
  ) throws(Errno) {
    let start = cookie < Directory.firstCookie ? .max : cookie
    for (number, name) in [Self.statsName, Self.filesName].enumerated().reversed() {
      let own = Directory.firstCookie + UInt64(number)
      let bytes = Self.bytes(of: name)
      if own < start, let inode = try statusNode(bytes, in: statusDirectory, by: caller), !body(bytes, inode, own) {
        return
      }
    }
  }

  /// One number or nested group of the statistics, in order.
  private func statistics() -> JSONObject {
    let usage = store.usage
    let statistics: FileSystemStatistics = self.statistics()
    var object = JSONObject()
    object["version"] = .number(1)
    object["memory_bytes"] = .number(usage.memoryBytes)
    object["memory_budget"] = .number(store.configuration.memoryBudget)
    object["disk_bytes"] = .number(usage.diskBytes)
    object["spill_capacity"] = store.configuration.spillCapacity.map { .number($0) } ?? .null
    object["spill_directory"] = store.configuration.spillDirectory.map { .string($0.bytes) } ?? .null
    object["spill_encrypted"] = .boolean(store.configuration.encryptsSpill)
    object["seal_bytes"] = .number(usage.sealBytes)
    object["threshold"] =
      switch store.configuration.threshold {
      case .bytes(let bytes): .number(bytes)
      case .unlimited: .null
      }
    object["data_bytes"] = .number(usage.dataBytes)
    object["size_limit"] = store.configuration.sizeLimit.map { .number($0) } ?? .null
    object["spilled_files"] = .number(Int64(usage.spilledFiles))
    object["rollovers"] = .number(Int64(usage.rollovers))
    object["failed_rollovers"] = .number(Int64(usage.failedRollovers))
    object["disk_refusals"] = .number(Int64(usage.diskRefusals))
    object["refused_bytes"] = .number(usage.refusedBytes)
    object["unconfirmed_bytes"] = .number(usage.unconfirmedBytes)
    object["pool_bytes"] = .number(usage.poolBytes)
    object["inodes"] = .number(Int64(quota.count))
    object["inode_limit"] = quota.limit.map { .number(Int64($0)) } ?? .null
    object["known_inodes"] = .number(Int64(table.count))
    object["total_blocks"] = .number(statistics.blocks)
    object["free_blocks"] = .number(statistics.freeBlocks)
    object["lifetime"] = .string(Array(configuration.lifetime.rawValue.utf8))
    if let mount = mountStatistics() { object["mount"] = .object(mount) }
    return object
  }

  /// One line of JSON for each regular file that `reader` may find: path, size, bytes in memory, on disk and refused by it,
  /// who made it.
  ///
  /// - Complexity: linear in the number of entries; directories are locked one at a time.
  private func fileListing(for reader: Caller) -> [UInt8] {
    var reader = reader
    if reader.user != 0, !reader.knowsGroups {
      reader.supplementaryGroups = ProcessFile.supplementaryGroups(of: reader.process) ?? []
    }
    var lines: [UInt8] = []
    forEachFile(whichMayBeFoundBy: reader) { inode, path in
      lines += Array(describe(inode, path: path).json.utf8)
      lines.append(UInt8(ascii: "\n"))
      return true
    }
    return lines
  }

  /// The path of the file with this content from the root, one of them if it has several; nil where it has none.
  ///
  /// - Complexity: as for the listing.
  func path(of content: ObjectIdentifier) -> [UInt8]? {
    var found: [UInt8]?
    forEachFile { inode, path in
      let isIt = inode.lock.withLock {
        if case .regular(let own?) = inode.payload { ObjectIdentifier(own) == content } else { false }
      }
      if isIt { found = path }
      return !isIt
    }
    return found
  }

  /// Calls `body` with each regular file and its path until it returns false.
  ///
  /// - Parameter reader: leaves out what is in directories that this one may not list or not go through.
  private func forEachFile(whichMayBeFoundBy reader: Caller? = nil, _ body: (Inode, [UInt8]) -> Bool) {
    var pending: [(directory: Inode, path: [UInt8])] = [(root, [])]
    while let (inode, path) = pending.popLast() {
      let entries = inode.lock.withLock { () -> [Directory.Entry] in
        guard case .directory(let directory) = inode.payload, reader.map({ inode.isOpenLocked(to: $0) }) ?? true else {
          return []
        }
        var entries: [Directory.Entry] = []
        entries.reserveCapacity(directory.count)
        directory.forEach { entry, _ in
          entries.append(entry)
          return true
        }
        return entries
      }
      for entry in entries {
        let entryPath = path + (path.isEmpty ? [] : [UInt8(ascii: "/")]) + entry.name.bytes
        switch entry.inode.kind {
        case .directory: pending.append((entry.inode, entryPath))
        case .regular: if !body(entry.inode, entryPath) { return }
        default: break
        }
      }
    }
  }

  private func describe(_ inode: Inode, path: [UInt8]) -> JSONObject {
    let content = inode.lock.withLock { () -> FileContent? in
      guard case .regular(let content) = inode.payload else { return nil }
      return content
    }
    var object = JSONObject()
    object["path"] = .string(path)
    object["size"] = .number(content?.size ?? 0)
    object["memory"] = .number(content?.bytesInMemory ?? 0)
    object["disk"] = .number(content?.bytesOnDisk ?? 0)
    object["pid"] = .number(Int64(inode.creator.process))
    object["command"] = .string(Array(commands.name(inode.creator.command).utf8))
    object["refused"] = .number(content?.refusedBytes ?? 0)
    return object
  }
}

/// A JSON object whose members keep their order. Foundation's encoder would do, but it costs every start of the command
/// some ten milliseconds.
struct JSONObject: Sendable {
  enum Value: Sendable {
    case number(Int64)
    /// Bytes of UTF-8; what is not is written as lone surrogates U+DC80 to U+DCFF, Python's `surrogateescape`.
    case string([UInt8])
    case object(JSONObject)
    case boolean(Bool)
    case null
  }

  private var members: [(name: String, value: Value)] = []

  subscript(name: String) -> Value? {
    get { members.first { $0.name == name }?.value }
    set {
      members.removeAll { $0.name == name }
      if let newValue { members.append((name, newValue)) }
    }
  }

  var json: String {
    "{" + members.map { "\(JSONText.quote(Array($0.name.utf8))):\(Self.text($0.value))" }.joined(separator: ",") + "}"
  }

  private static func text(_ value: Value) -> String {
    switch value {
    case .number(let number): String(number)
    case .string(let bytes): JSONText.quote(bytes)
    case .object(let object): object.json
    case .boolean(let boolean): boolean ? "true" : "false"
    case .null: "null"
    }
  }
}
