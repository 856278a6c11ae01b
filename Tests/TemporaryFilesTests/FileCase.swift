import SystemPackage
import Testing

@testable import TemporaryFiles

/// Something to try on a file of any kind.
protocol FileCheck {
  func run(on file: inout some ByteFile & ~Copyable) throws
}

/// What every file must do, whatever its kind; each case is named after what it guards.
enum FileCase: FileCheck, CaseIterable, CustomTestStringConvertible {
  // Reading
  case anEmptyFileIsAtItsEnd, readingGoesOnWhereItStopped, readingStopsAtTheEnd, readingIntoNothing
  case readingIntoASpan, countsOfBytes, readingPastTheEnd
  // Lines
  case linesKeepTheirNewline, linesOfAnyLength, linesCutOff, linesByHint, linesOneByOne, linesThenBytes
  // Writing
  case writingMovesThePosition, writingOver, writingNothing, writingWhatIsNoArray, writingLines, readingWhatIsPending
  case writingPastTheEnd, writingLargeAndSmall
  // Seeking
  case seekingFromEachOrigin, seekingBelowZero, seekingPastTheEnd, seekingTooFar, atTheLargestOffset
  // Resizing
  case resizingSmaller, resizingLarger, resizingToThePosition, resizingBelowZero, resizingToNothing
  case whatWasCutOffReadsAsZeros
  // The rest
  case flushing, whatAFileCanDo, closingTwice, nothingWorksAfterClosing

  var testDescription: String { "\(self)" }

  func run(on file: inout some ByteFile & ~Copyable) throws {
    switch self {
    case .anEmptyFileIsAtItsEnd, .readingGoesOnWhereItStopped, .readingStopsAtTheEnd, .readingIntoNothing,
      .readingIntoASpan, .countsOfBytes, .readingPastTheEnd, .linesKeepTheirNewline, .linesOfAnyLength, .linesCutOff,
      .linesByHint, .linesOneByOne, .linesThenBytes:
      try reading(&file)
    case .writingMovesThePosition, .writingOver, .writingNothing, .writingWhatIsNoArray, .writingLines,
      .readingWhatIsPending, .writingPastTheEnd, .writingLargeAndSmall, .seekingFromEachOrigin, .seekingBelowZero,
      .seekingPastTheEnd, .seekingTooFar, .atTheLargestOffset:
      try writingAndSeeking(&file)
    default: try resizingAndTheRest(&file)
    }
  }
}

/// The files' own error of an operation that has to fail.
func failure(
  _ code: TemporaryFileError.Code, sourceLocation: SourceLocation = #_sourceLocation,
  _ body: () throws(TemporaryFileError) -> Void
) {
  do throws(TemporaryFileError) {
    try body()
    Issue.record("no error, but \(code) was expected", sourceLocation: sourceLocation)
  } catch {
    #expect(error.code == code, sourceLocation: sourceLocation)
    #expect(!error.operation.isEmpty && !error.message.isEmpty, sourceLocation: sourceLocation)
  }
}

extension ByteFile where Self: ~Copyable {
  mutating func put(_ text: String) throws(TemporaryFileError) { try write(contentsOf: text.utf8) }

  /// Everything in the file, as text, zeros as dots. The position is at the end then.
  mutating func all() throws(TemporaryFileError) -> String {
    try seek(to: 0)
    return String(decoding: try readToEnd().map { $0 == 0 ? UInt8(ascii: ".") : $0 }, as: UTF8.self)
  }
}
