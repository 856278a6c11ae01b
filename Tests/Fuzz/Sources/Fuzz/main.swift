import Glibc

// `Fuzz TARGET [libFuzzer's arguments]`. libFuzzer is linked without its `main`, since Swift has one of its own.

private typealias Callback = @convention(c) (UnsafePointer<UInt8>?, Int) -> Int32

@_silgen_name("LLVMFuzzerRunDriver")
private func runDriver(
  _ count: UnsafeMutablePointer<Int32>,
  _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>>, _ callback: Callback
) -> Int32

let targets: [String: @Sendable (UnsafeBufferPointer<UInt8>) -> Void] = [
  "messages": fuzzMessages, "mountinfo": fuzzMountTable, "options": fuzzOptions, "text": fuzzText, "json": fuzzJSON,
]

guard CommandLine.argc > 1, let chosen = targets[CommandLine.arguments[1]] else {
  print("one of these, and libFuzzer's arguments: \(targets.keys.sorted().joined(separator: " "))")
  exit(2)
}
nonisolated(unsafe) let target = chosen

// libFuzzer takes what is not an option for a directory of inputs.
var arguments = CommandLine.unsafeArgv + 1
arguments[0] = CommandLine.unsafeArgv[0]
var count = CommandLine.argc - 1
exit(
  runDriver(&count, &arguments) { bytes, count in
    target(UnsafeBufferPointer(start: bytes, count: count))
    return 0
  })

/// Ends the process, as a trap does: libFuzzer keeps the input.
func demand(_ condition: Bool, _ text: @autoclosure () -> String) {
  if !condition { fatalError(text()) }
}
