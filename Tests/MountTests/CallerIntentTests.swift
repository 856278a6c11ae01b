import Testing

@testable import SpoolFS

/// What a system call is about to write, from what /proc says of it.
@Suite struct CallerIntentTests {
  private func intent(_ text: String) -> CallerIntent {
    Array(text.utf8).withUnsafeBytes { CallerIntent($0) }
  }

  /// The line of a call with these arguments.
  private func call(_ number: Int, _ arguments: UInt64...) -> String {
    let all = arguments + Array(repeating: 0, count: 6 - arguments.count)
    return "\(number) " + all.map { "0x" + String($0, radix: 16) }.joined(separator: " ")
      + " 0x7ffe12345678 0x7f0011223344\n"
  }

  #if arch(x86_64)
    @Test func writesSayHowMuchAndWhere() {
      #expect(intent(call(1, 5, 0x5555_0000, 4096)) == .write(descriptor: 5, count: 4096, offset: nil))
      #expect(intent(call(18, 5, 0x5555_0000, 10, 1 << 44)) == .write(descriptor: 5, count: 10, offset: 1 << 44))
      #expect(intent(call(20, 7, 0xabc0, 3)) == .vector(descriptor: 7, address: 0xabc0, parts: 3, offset: nil))
      #expect(intent(call(296, 7, 0xabc0, 3, 99)) == .vector(descriptor: 7, address: 0xabc0, parts: 3, offset: 99))
      #expect(
        intent(call(328, 7, 0xabc0, 3, .max, .max)) == .vector(descriptor: 7, address: 0xabc0, parts: 3, offset: nil),
        "at the descriptor's position")
    }

    @Test func filesThatAreSentComeInPieces() {
      #expect(intent(call(40, 4, 3, 0, 1 << 30)) == .transfer(from: 3, to: 4, count: 64 << 10))
      #expect(intent(call(40, 4, 3, 0, 100)) == .transfer(from: 3, to: 4, count: 100))
      #expect(intent(call(275, 3, 0, 4, 0, 1 << 30, 0)) == .transfer(from: 3, to: 4, count: 1 << 20))
      #expect(intent(call(326, 3, 0, 4, 0, 5000, 0)) == .transfer(from: 3, to: 4, count: 5000))
    }

    @Test(arguments: [0, 8, 17, 19, 59, 262]) func otherCallsWriteNothing(number: Int) {
      #expect(intent(call(number, 5, 1, 4096)) == .none)
    }

    /// A program of 32 bits that writes; io_submit(2), io_uring_enter(2).
    @Test(arguments: [4, 146, 181, 209, 426]) func callsThatDoNotSayAreUnknown(number: Int) {
      #expect(intent(call(number, 5, 1, 4096)) == .unknown)
    }

    @Test func aThreadOfTheKernelIsUnknown() {
      #expect(intent("0 0x0 0x0 0x0 0x0 0x0 0x0 0x0 0x0\n") == .unknown)
    }
  #endif

  @Test func aPageFaultIsNoCall() {
    #expect(intent("-1 0x7ffe12345678 0x7f0011223344\n") == .pageFault)
    #expect(intent("-1 0x0 0x0\n") == .unknown)
  }

  @Test func aThreadThatRunsSaysNothingYet() { #expect(intent("running\n") == .running) }

  @Test(arguments: ["", "\n", "1", "1 0x1\n", "x 0x1 0x2\n", "99999999999999999999999 0x1 0x1 0x1 0x1 0x1 0x1 0x1 0x1"])
  func whatCannotBeReadIsUnknownOrNone(text: String) {
    #expect([.unknown, .none].contains(intent(text)))
  }

  @Test func descriptorsSayWhereTheyAre() throws {
    func descriptor(_ text: String) -> CallerDescriptor? { Array(text.utf8).withUnsafeBytes { CallerDescriptor($0) } }
    let found = try #require(descriptor("pos:\t123456789012\nflags:\t0102001\nmnt_id:\t29\nino:\t77\n"))
    #expect(found.position == 123_456_789_012 && found.inode == 77)
    #expect(found.appends && found.writes && !found.isDirect)
    let reader = try #require(descriptor("pos:\t0\nflags:\t0140000\n"))
    #expect(!reader.writes && !reader.appends && reader.isDirect && reader.inode == 0)
    #expect(descriptor("") == nil && descriptor("pos:\t1\n") == nil && descriptor("flags:\tx\n") == nil)
  }
}
