internal import CSpoolSystem
internal import Crypto
internal import FoundationEssentials
internal import Glibc
internal import Synchronization
package import SystemPackage

/// The key that encrypts the spill files of one store: random, in a page of memory that is never swapped out and left
/// out of core dumps, and overwritten when the last of store and spill files is gone.
///
/// A forked child has no key, and gets ENOKEY: with a copy of the key and of the counter of nonces it would use nonces
/// a second time.
package final class SpillKey: @unchecked Sendable {  // `memory` is only read after `init`
  private static let byteCount = 32

  /// The key, and behind it a byte that is not zero as long as the key is there.
  private let memory: UnsafeMutableRawPointer
  /// The process that the key belongs to, where the kernel cannot wipe the memory of a child (before Linux 4.14).
  private let owner: pid_t?
  private let nonces = Atomic<UInt64>(0)
  private let files = Atomic<UInt64>(0)
  /// Bytes of memory that the seals of all files take.
  let sealBytes = Atomic<Int64>(0)
  let scratch = PageScratchPool()

  /// Makes a key.
  ///
  /// - Throws: ENOMEM or EPERM when no page may be locked (RLIMIT_MEMLOCK). Without the lock the key could be written to
  ///   swap, from where it opens all that was encrypted with it; so there is no going on without.
  init() throws(Errno) {
    var isWipedOnFork: Int32 = 0
    guard let memory = spool_map_secret(Layout.page, &isWipedOnFork) else { throw currentErrno() }
    guard getentropy(memory, Self.byteCount) == 0 else {
      let error = currentErrno()
      spool_unmap_secret(memory, Layout.page)
      throw error
    }
    memory.storeBytes(of: 1, toByteOffset: Self.byteCount, as: UInt8.self)
    self.memory = memory
    owner = isWipedOnFork != 0 ? nil : getpid()
  }

  /// Finds out whether there could be a key.
  ///
  /// - Throws: as `init()`.
  package static func check() throws(Errno) { _ = try SpillKey() }

  deinit { spool_unmap_secret(memory, Layout.page) }

  /// A number that no other file of this key has.
  func nextFileNumber() -> UInt64 { files.wrappingAdd(1, ordering: .relaxed).newValue }

  /// A nonce that was never used with this key.
  func nextNonce() -> UInt64 {
    let number = nonces.wrappingAdd(1, ordering: .relaxed).newValue
    // Some centuries of writing.
    precondition(number <= Seal.largestNonce, "the key is used up")
    return number
  }

  /// The cipher, for one read or write: the library's own copy of the key, in memory that is not locked, goes with it.
  ///
  /// - Throws: ENOKEY in a forked child.
  func cipher() throws(Errno) -> PageCipher {
    let isPresent = memory.load(fromByteOffset: Self.byteCount, as: UInt8.self) != 0
    guard isPresent, owner == nil || owner == getpid() else { throw Errno(rawValue: ENOKEY) }
    return PageCipher(
      key: SymmetricKey(data: UnsafeRawBufferPointer(start: memory, count: Self.byteCount)), source: self)
  }
}

/// AES-256-GCM over pages. What is authenticated with a page is which file and where in it the page is, so that no page
/// can stand in for another; an older state of the same page has another nonce and tag.
struct PageCipher {
  fileprivate let key: SymmetricKey
  fileprivate let source: SpillKey

  /// Encrypts the page at `plain` to `target`.
  func seal(_ plain: UnsafeRawPointer, _ place: PagePlace, to target: UnsafeMutableRawPointer) throws(Errno) -> Seal {
    let nonce = source.nextNonce()
    do {
      let box = try place.withUnsafeBytes { place in
        try AES.GCM.seal(
          UnsafeRawBufferPointer(start: plain, count: Layout.page), using: key, nonce: Self.nonce(nonce),
          authenticating: place)
      }
      box.ciphertext.withUnsafeBytes { target.copyMemory(from: $0.baseAddress!, byteCount: Layout.page) }
      return box.tag.withUnsafeBytes { Seal(nonce: nonce, tag: $0) }
    } catch {
      // The library refuses keys and nonces of a wrong size, and there are none.
      throw .ioError
    }
  }

  /// Decrypts the page at `ciphertext` and passes its bytes to `body`, or returns false if they are not those that were
  /// sealed.
  func open(
    _ ciphertext: UnsafeRawPointer, _ seal: Seal, _ place: PagePlace, _ body: (UnsafeRawBufferPointer) -> Void
  ) -> Bool {
    var tag = seal.tag
    do {
      let box = try withUnsafeBytes(of: &tag) {
        try AES.GCM.SealedBox(
          nonce: Self.nonce(seal.nonce), ciphertext: UnsafeRawBufferPointer(start: ciphertext, count: Layout.page),
          tag: $0)
      }
      try place.withUnsafeBytes { try AES.GCM.open(box, using: key, authenticating: $0) }.withUnsafeBytes(body)
      return true
    } catch {
      return false
    }
  }

  /// The 96 bits of a nonce.
  private static func nonce(_ number: UInt64) throws -> AES.GCM.Nonce {
    var words = (number.littleEndian, UInt32(0))
    return try Swift.withUnsafeBytes(of: &words) {
      try AES.GCM.Nonce(data: UnsafeRawBufferPointer(rebasing: $0[..<12]))
    }
  }
}

/// Which page of which file.
struct PagePlace {
  var file: UInt64
  var page: Int64

  fileprivate func withUnsafeBytes<Result>(_ body: (UnsafeRawBufferPointer) throws -> Result) rethrows -> Result {
    try Swift.withUnsafeBytes(of: (file, page), body)
  }
}
