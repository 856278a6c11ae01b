internal import CCryptoBoringSSL
internal import CSpoolSystem
internal import Glibc
internal import Synchronization
package import SystemPackage

/// The key that encrypts the spill files of one store: random, in a page of memory that is never swapped out and left
/// out of core dumps, and overwritten when the last of store and spill files is gone.
///
/// It is there once, expanded for the cipher (its key schedule). Nothing that encrypts or decrypts makes a copy.
///
/// A forked child has no key, and gets ENOKEY: with a copy of the key and of the counter of nonces it would use nonces
/// a second time.
package final class SpillKey: @unchecked Sendable {  // `memory` is only read after `init`
  private static let byteCount = 32
  /// Where in the page the byte is that is not zero as long as the key is there: behind the key schedule.
  private static let presence = MemoryLayout<EVP_AEAD_CTX>.size

  /// The key schedule, and `presence`.
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
    do throws(Errno) {
      try Self.makeSchedule(in: memory)
    } catch {
      spool_unmap_secret(memory, Layout.page)
      throw error
    }
    memory.storeBytes(of: 1, toByteOffset: Self.presence, as: UInt8.self)
    self.memory = memory
    owner = isWipedOnFork != 0 ? nil : getpid()
  }

  /// Expands a random key, which is in the locked page as well, and is overwritten there.
  private static func makeSchedule(in memory: UnsafeMutableRawPointer) throws(Errno) {
    let key = memory + presence
    guard getentropy(key, byteCount) == 0 else { throw currentErrno() }
    let context = memory.bindMemory(to: EVP_AEAD_CTX.self, capacity: 1)
    let isMade = CCryptoBoringSSL_EVP_AEAD_CTX_init(
      context, CCryptoBoringSSL_EVP_aead_aes_256_gcm(), key, byteCount, Seal.tagSize, nil)
    explicit_bzero(key, byteCount)
    if isMade == 0 { throw .noMemory }
  }

  /// Finds out whether there could be a key.
  ///
  /// - Throws: as `init()`.
  package static func check() throws(Errno) { _ = try SpillKey() }

  // The cipher has nothing but the schedule.
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

  /// The cipher, for one read or write.
  ///
  /// - Throws: ENOKEY in a forked child.
  func cipher() throws(Errno) -> PageCipher {
    let isPresent = memory.load(fromByteOffset: Self.presence, as: UInt8.self) != 0
    guard isPresent, owner == nil || owner == getpid() else { throw Errno(rawValue: ENOKEY) }
    return PageCipher(context: UnsafePointer(memory.assumingMemoryBound(to: EVP_AEAD_CTX.self)), source: self)
  }
}

/// AES-256-GCM over pages. What is authenticated with a page is which file and where in it the page is, so that no page
/// can stand in for another; an older state of the same page has another nonce and tag.
///
/// It calls BoringSSL, which swift-crypto contains, without swift-crypto's own layer: that expands the key and allocates
/// several times for each page, which takes longer than to encrypt one.
struct PageCipher {
  /// Any number of threads may use it at a time.
  fileprivate let context: UnsafePointer<EVP_AEAD_CTX>
  /// Keeps `context`.
  fileprivate let source: SpillKey

  /// Encrypts the page at `plain` to `target`.
  func seal(_ plain: UnsafeRawPointer, _ place: PagePlace, to target: UnsafeMutableRawPointer) throws(Errno) -> Seal {
    let nonce = source.nextNonce()
    var tag: (UInt64, UInt64) = (0, 0)
    var tagSize = 0
    let isSealed = withBytes(of: nonce, place) { nonce, place in
      withUnsafeMutableBytes(of: &tag) { tag in
        CCryptoBoringSSL_EVP_AEAD_CTX_seal_scatter(
          context, target, tag.baseAddress, &tagSize, tag.count, nonce.baseAddress, nonce.count, plain, Layout.page,
          nil, 0, place.baseAddress, place.count)
      }
    }
    // It refuses nonces and room for tags of a wrong size, and there are none.
    if isSealed == 0 { throw .ioError }
    return Seal(nonce: nonce, tag: tag)
  }

  /// Decrypts the page at `ciphertext` to `target`, which may be the same.
  ///
  /// - Returns: false if it is not what was sealed; `target` then has zeros.
  func open(
    _ ciphertext: UnsafeRawPointer, _ seal: Seal, _ place: PagePlace, to target: UnsafeMutableRawPointer
  ) -> Bool {
    withBytes(of: seal.nonce, place) { nonce, place in
      withUnsafeBytes(of: seal.tag) { tag in
        CCryptoBoringSSL_EVP_AEAD_CTX_open_gather(
          context, target, nonce.baseAddress, nonce.count, ciphertext, Layout.page, tag.baseAddress, tag.count,
          place.baseAddress, place.count) != 0
      }
    }
  }

  /// The 96 bits of a nonce, and what is authenticated.
  @inline(__always)
  private func withBytes<Result>(
    of nonce: UInt64, _ place: PagePlace, _ body: (UnsafeRawBufferPointer, UnsafeRawBufferPointer) -> Result
  ) -> Result {
    withUnsafeBytes(of: (nonce.littleEndian, UInt32(0))) { nonce in
      withUnsafeBytes(of: (place.file, place.page)) { place in
        body(UnsafeRawBufferPointer(rebasing: nonce[..<12]), place)
      }
    }
  }
}

/// Which page of which file.
struct PagePlace {
  var file: UInt64
  var page: Int64
}
