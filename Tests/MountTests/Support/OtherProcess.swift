import Foundation

/// Runs a Python program as another process, for what one process cannot test: locks, inherited descriptors.
///
/// - Returns: what it printed.
func python(_ program: String, _ arguments: String...) throws -> String {
  try outputOfProcess(["python3", "-c", program] + arguments)
}

/// Runs a script of sh(1) as another process.
///
/// - Returns: what it printed.
func shell(_ script: String, _ arguments: String...) throws -> String {
  try outputOfProcess(["sh", "-c", script, "sh"] + arguments)
}

/// Runs a program, which is looked up in PATH, to its end.
///
/// - Returns: what it wrote to its output and its errors, without white space around.
func outputOfProcess(_ words: [String]) throws -> String {
  let process = Process()
  process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
  process.arguments = words
  let output = Pipe()
  process.standardOutput = output
  process.standardError = output
  try process.run()
  let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
  process.waitUntilExit()
  return text.trimmingCharacters(in: .whitespacesAndNewlines)
}
