import CSpoolSystem
import Testing

@testable import SpoolFS

/// What INIT is answered with: the message as the kernel gets it.
@Suite struct NegotiationTests {
  private typealias Features = Negotiation.Features

  /// The flags that are sent where the kernel offers `offer`.
  private func answer(
    to offer: UInt64, cache: MountOptions.Cache, wantsRing: Bool = false
  ) -> UInt64 {
    var negotiation = Negotiation(cache: cache)
    negotiation.wantsRing = wantsRing
    var request = [UInt8](repeating: 0, count: MessageLayout.headerSize + MemoryLayout<fuse_init_in>.size)
    request.withUnsafeMutableBytes {
      var body = fuse_init_in()
      body.flags = UInt32(truncatingIfNeeded: offer)
      body.flags2 = UInt32(truncatingIfNeeded: offer >> 32)
      $0.storeBytes(of: body, toByteOffset: MessageLayout.headerSize, as: fuse_init_in.self)
      negotiation.readOffer($0)
    }
    var reply = [UInt8](repeating: 0xFF, count: MemoryLayout<fuse_init_out>.size)
    return reply.withUnsafeMutableBytes {
      let isLongEnough = negotiation.rewriteAnswer($0)
      #expect(isLongEnough)
      // By the offsets of the protocol, not of a header: flags at byte 12, flags2 at 32.
      let flags = $0.load(fromByteOffset: 12, as: UInt32.self)
      return UInt64($0.load(fromByteOffset: 32, as: UInt32.self)) << 32 | UInt64(flags)
    }
  }

  @Test(arguments: MountOptions.Cache.allCases) func whatIsSent(_ cache: MountOptions.Cache) {
    // asyncRead, bigWrites, readdirplus and its auto, parallel operations in a directory, max_pages, symlinks cached, explicit
    // invalidation, privileges left to us, flags2.
    let always: [UInt64] = [0, 5, 13, 14, 18, 22, 23, 25, 28, 30]
    let own: [UInt64] =
      switch cache {
      case .writeback: [16]
      case .writethrough: []
      // asyncDirectIO, and mapping.
      case .none: [15, 36]
      }
    #expect(answer(to: .max, cache: cache) == (always + own).reduce(0) { $0 | 1 << $1 })
  }

  @Test func parallelOperationsInADirectoryAreSent() {
    #expect(answer(to: .max, cache: .writethrough) & 1 << 18 != 0)
  }

  @Test func whatTheKernelDoesNotOfferIsNotSent() {
    #expect(
      answer(to: 1 << 5 | 1 << 13, cache: .writeback, wantsRing: true) == 1 << 5 | 1 << 13)
    // Without INIT_EXT the second word means nothing.
    #expect(answer(to: .max & ~(1 << 30), cache: .none, wantsRing: true) >> 32 == 0)
  }

  /// Kernels before 5.17.
  @Test func aShortOfferIsReadWithoutWhatItLacks() {
    var negotiation = Negotiation(cache: .writeback)
    var request = [UInt8](repeating: 0, count: MessageLayout.headerSize + 16)
    request.withUnsafeMutableBytes {
      $0.storeBytes(of: UInt32(1 << 16 | 1 << 22), toByteOffset: MessageLayout.headerSize + 12, as: UInt32.self)
      negotiation.readOffer($0)
    }
    #expect(negotiation.offered == [.writebackCache, .maximumPages])
  }

  @Test func theRingIsSentWhereItIsWanted() {
    #expect(answer(to: .max, cache: .writeback, wantsRing: true) & 1 << 41 != 0)
    #expect(answer(to: .max, cache: .writeback) & 1 << 41 == 0)
  }
}

extension MountSuites {
  @Suite struct AgreedFeatureTests {
    /// libfuse before 3.17 leaves it out although it is wanted.
    @Test(.kernelRing, arguments: transports) func theKernelAgreesToParallelOperations(
      _ transport: MountOptions.Transport
    ) async throws {
      try await withMount(options: .init(transport: transport)) { tree in
        #expect(tree.mount.session.negotiation.offered.contains(.parallelDirectoryOperations))
        #expect(tree.mount.session.negotiation.agreed.contains(.parallelDirectoryOperations))
      }
    }
  }
}
