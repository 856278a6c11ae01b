// `scripts/bench-library` runs these beside the same in CPython, which is in `cpython.py`.
import Benchmark
import TemporaryFiles

/// How many cycles one measurement holds, so that reading the clock does not count.
struct Cycles: BenchmarkSetting {
  let count: Int
}

/// The benchmarks of the library. `scripts/bench-library --list` says what each is.
func temporaryFiles() -> BenchmarkSuite {
  let suite = BenchmarkSuite(name: "")
  addSpooledFiles(to: suite)
  suite.measure("unnamed", cycles: 10) {
    var file = try TemporaryFile()
    try file.close()
  }
  suite.measure("named", cycles: 10) {
    var file = try NamedTemporaryFile()
    try file.close()
  }
  suite.measure("directory", cycles: 10) {
    var directory = try TemporaryDirectory()
    try directory.cleanup()
  }
  return suite
}

private func addSpooledFiles(to suite: BenchmarkSuite) {
  let kibibyte = [UInt8](repeating: 120, count: 1 << 10)
  let mebibyte = [UInt8](repeating: 120, count: 1 << 20)
  suite.measure("spooled", cycles: 100) {
    var file = try SpooledTemporaryFile(threshold: .bytes(1 << 20))
    try file.write(kibibyte)
    try file.seek(to: 0)
    try file.readAgain(kibibyte.count, times: 1)
    try file.close()
  }
  suite.measure("rolled", cycles: 10) {
    var file = try SpooledTemporaryFile(threshold: .bytes(Int64(kibibyte.count)))
    try file.write(kibibyte)
    try file.write(kibibyte)
    precondition(file.isRolledOver)
    try file.close()
  }
  suite.measure("large", cycles: 1) {
    var file = try SpooledTemporaryFile(threshold: .unlimited)
    for _ in 0..<256 { try file.write(mebibyte) }
    try file.seek(to: 0)
    try file.readAgain(mebibyte.count, times: 256)
    precondition(!file.isRolledOver)
    try file.close()
  }
}

extension SpooledTemporaryFile {
  fileprivate mutating func readAgain(_ count: Int, times: Int) throws {
    try withUnsafeTemporaryAllocation(byteCount: count, alignment: 16) { buffer in
      for _ in 0..<times {
        let got = try read(into: buffer)
        precondition(got == count)
      }
    }
  }
}

extension BenchmarkSuite {
  fileprivate func measure(_ name: String, cycles: Int, _ cycle: @escaping () throws -> Void) {
    benchmark(name, settings: Cycles(count: cycles)) { for _ in 0..<cycles { try cycle() } }
  }
}
