// swift-tools-version: 6.2
import PackageDescription

// Measures the library TemporaryFiles. A package of its own, so that those who use the library do not get its tools.
// `scripts/bench-library` runs it beside CPython's tempfile.
let package = Package(
  name: "spoolfs-benchmarks",
  dependencies: [
    .package(name: "spoolfs", path: ".."),
    // A plain executable that can run in turns with another program; ordo-one's is a plug-in and wants to be alone.
    .package(url: "https://github.com/google/swift-benchmark", from: "0.1.2"),
    .package(url: "https://github.com/apple/swift-system", from: "1.8.0"),
  ],
  targets: [
    .executableTarget(
      name: "TemporaryFilesBenchmarks",
      dependencies: [
        .product(name: "TemporaryFiles", package: "spoolfs"),
        .product(name: "Benchmark", package: "swift-benchmark"),
        .product(name: "SystemPackage", package: "swift-system"),
      ],
      swiftSettings: [
        .swiftLanguageMode(.v6), .enableUpcomingFeature("ExistentialAny"),
        .enableUpcomingFeature("MemberImportVisibility"),
      ])
  ]
)
