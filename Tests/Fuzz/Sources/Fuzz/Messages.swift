import Foundation
import SystemPackage

@testable import SpoolFS
@testable import SpoolStorage

struct NeverHappened: Error {}

/// Messages of the kernel's, to a tree that goes on from input to input: each is answered once, or not at all where FUSE
/// wants it so.
///
/// An input is a row of them: the opcode, a byte that chooses the node, the length of the body, the body.
@Sendable func fuzzMessages(_ input: UnsafeBufferPointer<UInt8>) {
  let kernel = Kernels.next()
  var rest = input[...]
  while rest.count > 2 {
    let (first, second) = (rest.removeFirst(), rest.removeFirst())
    // Now and then a number that is none.
    let opcode = first < 0xf0 ? Opcode.allCases[Int(first) % Opcode.allCases.count].rawValue : UInt32(first)
    let count = min(Int(rest.removeFirst()), rest.count)
    let body = Array(rest.prefix(count))
    rest.removeFirst(count)
    let node = second < 0xf8 ? UInt64(second % 32) : UInt64.max - UInt64(second)
    let isAnswered = opcode != Opcode.forget.rawValue && opcode != Opcode.batchForget.rawValue
    do {
      let answers = try kernel.call(opcode, node: node, body, isAnswered: isAnswered)
      demand(answers.count == (isAnswered ? 1 : 0), "opcode \(opcode), node \(node), \(body): \(answers)")
    } catch {
      fatalError("opcode \(opcode), node \(node), \(body): \(error)")
    }
  }
}

/// A tree for so many inputs, so that what is found can be found again.
private enum Kernels {
  private static let inputs = 5000
  nonisolated(unsafe) private static var current: FakeKernel?
  nonisolated(unsafe) private static var count = 0

  static func next() -> FakeKernel {
    defer { count += 1 }
    if count % inputs == 0 {
      current = nil
      let storage = SpoolConfiguration(threshold: .unlimited, memoryBudget: 16 << 20, spillCapacity: 0)
      do {
        current = try FakeKernel(.init(storage: storage, inodeLimit: 5000, extendedAttributes: true))
      } catch {
        fatalError("no session: \(error)")
      }
    }
    return current!
  }
}
