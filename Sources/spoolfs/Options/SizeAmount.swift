internal import ArgumentParser

/// An amount of memory or disk as a user writes it: bytes, with one of the suffixes k, m, g, t (powers of 1024), or a
/// percentage of the RAM that the process may use, as in tmpfs's `size=`.
enum SizeAmount: Equatable, Sendable {
  case bytes(Int64)
  case percent(Int64)
  case unlimited

  struct Invalid: Error, CustomStringConvertible {
    var description: String
  }

  init(parsing text: String) throws(Invalid) {
    if text.lowercased() == "unlimited" {
      self = .unlimited
      return
    }
    guard !text.isEmpty else { throw Invalid(description: "a size is missing") }
    let digits = text.utf8.prefix { (0x30...0x39).contains($0) }
    let suffix = String(text.dropFirst(digits.count))
    guard !digits.isEmpty else { throw Self.malformed(text) }
    guard let number = Int64(String(digits)!) else { throw Self.tooLarge(text) }
    if suffix == "%" {
      guard number <= 1_000_000 else { throw Self.tooLarge(text) }
      self = .percent(number)
      return
    }
    guard let shift = Self.shift(suffix) else { throw Self.malformed(text) }
    let (bytes, overflow) = number.multipliedReportingOverflow(by: 1 << shift)
    guard !overflow else { throw Self.tooLarge(text) }
    self = .bytes(bytes)
  }

  /// The amount in bytes, where 100% is `memory` bytes. Nil: unlimited.
  func resolved(memory: Int64) -> Int64? {
    switch self {
    case .bytes(let count): count
    // Divided first: a percentage of any RAM then stays far from overflow.
    case .percent(let percent): memory / 100 * percent + memory % 100 * percent / 100
    case .unlimited: nil
    }
  }

  private static func shift(_ suffix: String) -> Int64? {
    switch suffix.lowercased() {
    case "": 0
    case "k": 10
    case "m": 20
    case "g": 30
    case "t": 40
    default: nil
    }
  }

  private static func malformed(_ text: String) -> Invalid {
    Invalid(description: "'\(text)' is not a size: write bytes, a number with k, m, g or t, or a percentage of the RAM")
  }

  private static func tooLarge(_ text: String) -> Invalid {
    Invalid(description: "'\(text)' is too large")
  }
}
