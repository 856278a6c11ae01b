@preconcurrency import Benchmark

// The time of a cycle in the fastest measurement: what disturbs only ever adds.
let fastest = BenchmarkColumn.registry["min"]!
BenchmarkColumn.register(
  BenchmarkColumn(
    name: "cycle", value: { fastest.value($0) / Double($0.settings[Cycles.self]?.count ?? 1) }, unit: .time))

Benchmark.main([temporaryFiles()])
