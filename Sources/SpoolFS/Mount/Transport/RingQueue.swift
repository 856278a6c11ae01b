import SpoolStorage
internal import Synchronization
internal import SystemPackage

/// The requests of callers on one processor, and who serves them.
///
/// Each server has one entry, so the kernel gives it a request only when it has none: no request waits behind one that
/// takes long while another server is idle. So that one is, servers are added as they are needed.
final class RingQueue: @unchecked Sendable {
  // @unchecked: `streamLock` protects `stream`.

  /// Requests of one processor that may wait for a disk or a lock at the same time. Those that wait for the kernel come
  /// on top: with nobody left to take what it sends, they would wait for ever.
  private static let maximumServers = 4

  /// The processor's number.
  let number: Int
  private unowned let transport: RingTransport

  /// Including those that are being started.
  private let servers = Atomic<Int>(0)
  /// Those that the kernel knows.
  private let registeredServers = Atomic<Int>(0)
  /// Those that have a request.
  private let busyServers = Atomic<Int>(0)
  /// Those that wait until the kernel has sent other requests.
  private let waitingServers = Atomic<Int>(0)

  /// Whether its servers have other processors to go to.
  let canBeLeft: Bool
  private let streamLock = Lock()
  @exclusivity(unchecked) private var stream = ReadStream()

  init(_ number: Int, of transport: RingTransport) {
    self.number = number
    self.transport = transport
    canBeLeft = Processors.allowed.count > 1 && Processors.allowed.contains(Int32(number))
  }

  func serverStarts() { servers.wrappingAdd(1, ordering: .relaxed) }

  func serverIsRegistered() { registeredServers.wrappingAdd(1, ordering: .relaxed) }

  func serverFailed() { servers.wrappingSubtract(1, ordering: .relaxed) }

  /// A server has a request for the file of that number. If it was the last one without, it starts another.
  func requestBegins(on file: UInt64) {
    let busy = busyServers.wrappingAdd(1, ordering: .relaxed).newValue
    let count = servers.load(ordering: .relaxed)
    guard busy >= count, count - waitingServers.load(ordering: .relaxed) < Self.maximumServers,
      servers.compareExchange(expected: count, desired: count + 1, ordering: .relaxed).exchanged
    else { return }
    // Without it the queue is served as well, with more waiting.
    do throws(Errno) { try transport.addServer(to: self, file: file, isNeeded: false) } catch { serverFailed() }
  }

  /// Whether a READ is one of a stream.
  func isOfStream(_ read: RingEntry.Read) -> Bool {
    read.count >= ReadStream.leastRead && streamLock.withLock { stream.goesOn(with: read) }
  }

  func requestEnds() { busyServers.wrappingSubtract(1, ordering: .relaxed) }

  /// A server is about to wait until the kernel has sent other requests, perhaps from this queue. Called on its thread.
  ///
  /// - Parameter file: the number of the regular file that its request is for.
  /// - Throws: EAGAIN, ENOMEM where nobody would be left to take them.
  func serverWillWait(on file: UInt64) throws(Errno) {
    let waiting = waitingServers.wrappingAdd(1, ordering: .relaxed).newValue
    if waiting >= registeredServers.load(ordering: .relaxed) {
      serverStarts()
      do throws(Errno) {
        try transport.addServer(to: self, file: file, isNeeded: true)
      } catch {
        serverFailed()
        serverHasWaited()
        throw error
      }
    }
    // What waited for a server before there was this one is among what is waited for, perhaps.
    transport.drawRequest(about: file)
  }

  func serverHasWaited() { waitingServers.wrappingSubtract(1, ordering: .relaxed) }
}
