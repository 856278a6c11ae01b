import SpoolStorage
import Testing

@testable import SpoolFS

/// What the kernel may hold of files, counted from the answer that allows a write(2) until its WRITE.
@Suite struct WriteReservationsTests {
  private static let page: Int64 = 4096
  private static let chunk: Int64 = 65_536

  private func reserve(
    _ reservations: inout WriteReservations, _ bytes: Range<Int64>, of inode: UInt64 = 5, by thread: UInt32 = 1,
    at time: Int = 0, isOpenEnded: Bool = false
  ) {
    reservations.reserve(
      bytes, of: inode, by: thread, at: time, needsSpace: true, needsMemory: true, isOpenEnded: isOpenEnded)
  }

  @Test func pagesCountOnceUntilTheyAreWritten() {
    var reservations = WriteReservations()
    reserve(&reservations, 0..<100)
    reserve(&reservations, 100..<5000)
    #expect(reservations.total == ReservedSpace(pages: 2, memory: Self.chunk))
    #expect(reservations.missing(0..<8192, of: 5) == [])
    #expect(reservations.missing(4000..<12_289, of: 5) == [8192..<16_384])
    #expect(reservations.missing(0..<1, of: 6) == [0..<4096])
    #expect(reservations.end(of: 5) == 5000)
    reservations.written(0..<4096, of: 5)
    #expect(reservations.total == ReservedSpace(pages: 1, memory: 0), "the chunk has its memory now")
    reservations.written(4096..<5000, of: 5)
    #expect(reservations.total == ReservedSpace() && reservations.end(of: 5) == 0)
  }

  @Test func memoryCountsByTheChunkAndOnlyWhereItIsReserved() {
    var reservations = WriteReservations()
    reserve(&reservations, Self.chunk - 1..<Self.chunk + 1)
    #expect(reservations.total == ReservedSpace(pages: 2, memory: 2 * Self.chunk))
    #expect(reservations.memory(reservedIn: [0..<1, 2 * Self.chunk..<3 * Self.chunk], of: 5) == Self.chunk)
    #expect(reservations.memory(reservedIn: [0..<1], of: 6) == 0)
  }

  @Test func whatIsCutOrForgottenDoesNotCount() {
    var reservations = WriteReservations()
    reserve(&reservations, 0..<10 * Self.page)
    reservations.cut(5, to: Self.page + 1)
    #expect(reservations.total.pages == 2)
    reserve(&reservations, 0..<Self.page, of: 6)
    reservations.forget(6)
    #expect(reservations.total.pages == 2)
    reservations.cut(5, to: 0)
    #expect(reservations.total == ReservedSpace())
  }

  @Test func writingBackReleasesAllButWhatOthersMayNotHaveStarted() {
    var reservations = WriteReservations()
    reserve(&reservations, 0..<Self.page, by: 1)
    reserve(&reservations, 3 * Self.page..<4 * Self.page, by: 1)
    reserve(&reservations, 10 * Self.page..<11 * Self.page, by: 2)
    reserve(&reservations, 0..<Self.page, of: 6, by: 3, at: -2_000_000_000)
    let outstanding = reservations.outstanding(askedBy: 1, at: 1)
    #expect(outstanding.first { $0.inode == 5 }?.bytes == 0..<4 * Self.page)
    #expect(outstanding.first { $0.inode == 6 }?.bytes == 0..<Self.page)
    reservations.release(outstanding)
    #expect(reservations.total == ReservedSpace(pages: 1, memory: Self.chunk))
    reservations.release(reservations.outstanding(askedBy: 2, at: 1))
    #expect(reservations.total == ReservedSpace())
  }

  @Test func aWriteOfWhichNobodyKnowsTheEndMakesItIncomplete() {
    var reservations = WriteReservations()
    reserve(&reservations, 0..<1, isOpenEnded: true)
    #expect(reservations.isIncomplete)
    let outstanding = reservations.outstanding(askedBy: 1, at: 1)
    #expect(outstanding.count == 1 && outstanding[0].bytes == nil, "all of the file is to be written back")
    reservations.release(outstanding)
    #expect(!reservations.isIncomplete && reservations.total == ReservedSpace())
  }

  // MARK: - The decision

  private func decision(pages: Int64, left: Int64, _ state: WriteAdmission.State) -> WriteAdmission {
    var demand = SpaceDemand()
    demand.pages = pages
    return WriteAdmission(demand, state) { pages + $0.pages <= left }
  }

  @Test func whatFitsBesideAllPromisesIsAdmitted() {
    let state = WriteAdmission.State(reserved: ReservedSpace(pages: 5), unasked: 3 * Self.page)
    #expect(decision(pages: 2, left: 10, state) == .admitted)
    #expect(decision(pages: 3, left: 10, state) == .undecided)
    #expect(decision(pages: 11, left: 10, .init()) == .refused)
    #expect(decision(pages: 10, left: 10, .init()) == .admitted)
  }

  @Test func whatTakesNothingIsAlwaysAdmitted() {
    #expect(decision(pages: 0, left: 0, .init(reserved: ReservedSpace(pages: 5), isIncomplete: true)) == .admitted)
  }

  @Test func nothingIsRefusedBeforeTheKernelHasWrittenBack() {
    #expect(decision(pages: 1, left: 0, .init(unasked: 1)) == .undecided)
    #expect(decision(pages: 1, left: 0, .init(reserved: ReservedSpace(memory: 1))) == .undecided)
    #expect(decision(pages: 1, left: 9, .init(isIncomplete: true)) == .undecided)
    #expect(decision(pages: 1, left: 0, .init()) == .refused)
  }
}
