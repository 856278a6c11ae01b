import Foundation
import Testing

/// One sequence of operations on one file, for CPython and for us.
///
/// To compare another kind of file, add its class to `KINDS` of Tests/PythonReference/text.py, and run the same steps on ours.
struct TextScript: Codable, Sendable {
  /// A key of `KINDS`.
  var kind: String
  /// What the file holds at first, in hexadecimal.
  var content: String
  /// The arguments of the class in the Python program, as JSON has them.
  var settings: [String: Setting]
  var steps: [Step]

  /// A method of the class in the Python program, and its arguments.
  struct Step: Codable, Sendable, CustomStringConvertible {
    var name: String
    var text: String?
    var number: Int?

    var description: String {
      let arguments = [text.map { $0.debugDescription }, number.map(String.init)].compactMap(\.self)
      return "\(name)(\(arguments.joined(separator: ", ")))"
    }
  }

  enum Setting: Codable, Sendable, CustomStringConvertible {
    case text(String)
    case number(Int)
    case none

    func encode(to encoder: any Encoder) throws {
      var container = encoder.singleValueContainer()
      switch self {
      case .text(let text): try container.encode(text)
      case .number(let number): try container.encode(number)
      case .none: try container.encodeNil()
      }
    }

    init(from decoder: any Decoder) throws {
      let container = try decoder.singleValueContainer()
      if container.decodeNil() {
        self = .none
      } else if let number = try? container.decode(Int.self) {
        self = .number(number)
      } else {
        self = .text(try container.decode(String.self))
      }
    }

    var description: String {
      switch self {
      case .text(let text): text.debugDescription
      case .number(let number): "\(number)"
      case .none: "None"
      }
    }
  }
}

/// What one script gave.
struct TextOutcome: Codable, Equatable, Sendable {
  /// One for each step: "= " and what it returned, or "! " and what it raised; `anything` for no comparison. Fewer than there are steps if the rest has
  /// no defined outcome.
  var answers: [String]
  /// The bytes of the file at the end, in hexadecimal; nil if it did not come to that.
  var content: String?
}

enum TextReference {
  static let anything = "= *anything*"

  /// Runs the scripts in one CPython process.
  static func run(_ scripts: [TextScript]) throws -> [TextOutcome] {
    let output = try PythonReference.output(of: "text.py", given: JSONEncoder().encode(scripts))
    let outcomes = try output.split(separator: UInt8(ascii: "\n")).map {
      try JSONDecoder().decode(TextOutcome.self, from: Data($0))
    }
    try #require(outcomes.count == scripts.count)
    return outcomes
  }
}
