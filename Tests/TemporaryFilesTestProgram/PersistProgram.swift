import CHostCalls
import Glibc
import SystemPackage
import TemporaryFiles

/// Makes files of every kind and size permanent, and tells which of them are not as one that open(2) makes there.
///
/// The links `source` and `target` in the place say from where and to where.
enum PersistProgram {
  private static let permissions: [FilePermissions] = [.ownerReadWrite, .ownerWrite, [.ownerReadWrite, .groupRead]]

  private static let block: [UInt8] = {
    var block: [UInt8] = (0..<251).map { UInt8($0) }
    while block.count < 2_000_000 { block += block }
    return block
  }()

  static func run(_ place: FilePath) throws {
    let (source, target) = (place.appending("source"), place.appending("target"))
    for permissions in permissions {
      let made = target.appending("made")
      close(spoolOpen(made, permissions))
      let expected = describe(made)
      unlink(made.string)
      for size in [0, 9, 100_000, block.count] {
        try persistAll(from: source, size, permissions) { kind, persist in
          let path = target.appending("persisted")
          do { try persist(path) } catch { return print(kind, size, error) }
          let got = describe(path)
          if got != expected { print("\(kind) of \(size) bytes is \(got), not \(expected)") }
          if !holds(path, size) { print("\(kind) of \(size) bytes has others") }
          unlink(path.string)
        }
      }
    }
    print("done")
  }

  /// As an ordinary user who sees no /proc. Needs a mount namespace of its own, and root to begin with.
  static func runWithoutProc(_ place: FilePath) throws {
    guard umount2("/proc", Int32(MNT_DETACH)) == 0, access("/proc/self", F_OK) != 0, setgid(65534) == 0,
      setuid(65534) == 0
    else { fatalError("cannot do without /proc") }
    try run(place)
  }

  private static func persistAll(
    from source: FilePath, _ size: Int, _ permissions: FilePermissions,
    _ check: (_ kind: String, _ persist: (FilePath) throws -> Void) throws -> Void
  ) throws {
    try check("named") { path in
      var file = try NamedTemporaryFile(in: source, permissions: permissions)
      try fill(&file, size)
      try file.persist(to: path, permissions: permissions)
    }
    try check("unnamed") { path in
      var file = try TemporaryFile(in: source)
      try fill(&file, size)
      fchmod(try file.fileDescriptor().rawValue, mode_t(permissions.rawValue))
      try file.persist(to: path)
    }
    for threshold in [Int64(0), 1000, 1 << 30] {
      try check("spooled from \(threshold) on") { path in
        var file = try SpooledTemporaryFile(threshold: .bytes(threshold), in: source)
        try fill(&file, size)
        try file.persist(to: path, permissions: permissions)
      }
    }
    try check("given away") { path in
      var file = try SpooledTemporaryFile(in: source)
      try fill(&file, size)
      _ = try file.fileDescriptor()
      try file.persist(to: path, permissions: permissions)
    }
  }

  private static func spoolOpen(_ path: FilePath, _ permissions: FilePermissions) -> CInt {
    let file = CInt(host_open(path.string, O_RDWR | O_CREAT | O_EXCL, 0o600))
    fchmod(file, mode_t(permissions.rawValue))
    return file
  }

  private static func fill<File: ByteFile & ~Copyable>(_ file: inout File, _ size: Int) throws {
    try file.write(Array(block.prefix(size)))
  }

  private static func describe(_ path: FilePath) -> String {
    var status = host_stat()
    guard host_stat(path.string, &status) == 0 else { return "missing" }
    var list = [UInt8](repeating: 0, count: 1000)
    let size = host_get_attribute(path.string, "system.posix_acl_access", &list, list.count)
    let acl = size > 0 ? " with \(list.prefix(Int(size)).map { String($0, radix: 16) }.joined())" : ""
    return "of group \(status.group), mode \(String(status.mode & 0o7777, radix: 8))\(acl)"
  }

  private static func holds(_ path: FilePath, _ size: Int) -> Bool {
    chmod(path.string, 0o600)  // owners may look in the end
    let file = host_open(path.string, O_RDONLY, 0)
    defer { _ = host_close(Int32(file)) }
    var bytes = [UInt8](repeating: 0, count: size + 1)
    let count = host_read(Int32(file), &bytes, bytes.count, 0)
    return count == size && memcmp(bytes, block, size) == 0
  }
}
