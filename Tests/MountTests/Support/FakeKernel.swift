import CSpoolSystem
import Foundation
import SystemPackage

@testable import SpoolFS

/// The kernel's side of a session, for messages that the kernel never sends. In place of /dev/fuse there is a socket that keeps
/// messages apart.
final class FakeKernel {
  /// What a message was answered with.
  struct Answer: Equatable {
    var error: Errno?
    var body: [UInt8]
  }

  let files: FileSystem
  let session: Session
  private let socket: Int32
  private var lastNumber: UInt64 = 2
  private var answers: [UInt64: [Answer]] = [:]

  init(_ configuration: FileSystem.Configuration = .init(), cache: MountOptions.Cache = .writethrough) throws {
    var ends: [Int32] = [-1, -1]
    let kind = Int32(SOCK_SEQPACKET.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
    guard socketpair(AF_UNIX, kind, 0, &ends) == 0 else { throw Errno(rawValue: errno) }
    socket = ends[0]
    // The longest answers have a megabyte. Beyond the system's usual limit it takes root.
    var size: Int32 = 8 << 20
    for end in ends { setsockopt(end, SOL_SOCKET, Int32(SO_SNDBUFFORCE), &size, 4) }
    files = try FileSystem(configuration)
    session = Session(files, device: ends[1], cache: cache)
    let offer = fuse_init_in(
      major: 7, minor: 38, max_readahead: 1 << 20, flags: .max, flags2: .max,
      unused: (0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0))
    // It waits in the socket until the session reads it.
    let number = try send(.initialize, node: 0, withUnsafeBytes(of: offer) { Array($0) })
    try session.open(.device, maximumReaders: 1)
    _ = try answers(to: number)
  }

  deinit {
    close(socket)
    session.waitForEnd(timeout: .seconds(10))
  }

  /// Sends a message whose body is `body`, and waits until it and all before it have been served.
  ///
  /// - Returns: what it was answered with: one answer, or none.
  func call(_ opcode: UInt32, node: UInt64, _ body: [UInt8], isAnswered: Bool = true) throws -> [Answer] {
    let number = try send(opcode, node: node, body)
    // There is one reader, so this is served after the other.
    let last = try send(Opcode.getattr.rawValue, node: FileSystem.rootID, [UInt8](repeating: 0, count: 16))
    _ = try answers(to: last)
    // A search for holes is answered later.
    return isAnswered ? try answers(to: number) : answers.removeValue(forKey: number) ?? []
  }

  func call(_ opcode: Opcode, node: UInt64, _ body: [UInt8]) throws -> [Answer] {
    try call(opcode.rawValue, node: node, body)
  }

  /// Sends bytes as they are.
  func sendRaw(_ bytes: [UInt8]) throws {
    if write(socket, bytes, bytes.count) != bytes.count { throw Errno(rawValue: errno) }
  }

  private func send(_ opcode: Opcode, node: UInt64, _ body: [UInt8]) throws -> UInt64 {
    try send(opcode.rawValue, node: node, body)
  }

  private func send(_ opcode: UInt32, node: UInt64, _ body: [UInt8]) throws -> UInt64 {
    lastNumber += 2
    var header = fuse_in_header()
    header.len = UInt32(MemoryLayout<fuse_in_header>.size + body.count)
    header.opcode = opcode
    header.unique = lastNumber
    header.nodeid = node
    header.pid = UInt32(getpid())
    try sendRaw(withUnsafeBytes(of: header) { Array($0) } + body)
    return lastNumber
  }

  private func answers(to number: UInt64) throws -> [Answer] {
    while true {
      if let found = answers.removeValue(forKey: number) { return found }
      try receive()
    }
  }

  private func receive() throws {
    var file = pollfd(fd: socket, events: Int16(POLLIN), revents: 0)
    guard poll(&file, 1, 20_000) > 0 else { throw NeverHappened() }
    var message = [UInt8](repeating: 0, count: 2 << 20)
    let count = read(socket, &message, message.count)
    let headerSize = MemoryLayout<fuse_out_header>.size
    guard count >= headerSize else { throw Errno.ioError }
    let header = message.withUnsafeBytes { $0.load(as: fuse_out_header.self) }
    // Notifications have no number.
    if header.unique == 0 { return }
    guard Int(header.len) == count, (-4095...0).contains(header.error) else { throw Errno.badMessage }
    let error = header.error == 0 ? nil : Errno(rawValue: -header.error)
    answers[header.unique, default: []].append(Answer(error: error, body: Array(message[headerSize..<count])))
  }
}
