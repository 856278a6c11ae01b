// swift-tools-version: 6.2
import PackageDescription

// Feeds libFuzzer's inputs to whatever reads what comes from outside. A package of its own, because all that it uses is
// compiled to count which code was reached. `scripts/fuzz` builds and runs it.
let package = Package(
  name: "spoolfs-fuzz",
  dependencies: [
    .package(name: "spoolfs", path: "../.."),
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0"),
    .package(url: "https://github.com/apple/swift-system", from: "1.8.0"),
  ],
  targets: [
    .executableTarget(
      name: "Fuzz",
      dependencies: [
        .product(name: "SpoolFS", package: "spoolfs"),
        .product(name: "TemporaryFiles", package: "spoolfs"),
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
        .product(name: "SystemPackage", package: "swift-system"),
      ],
      swiftSettings: [
        .swiftLanguageMode(.v6), .enableUpcomingFeature("ExistentialAny"),
        .enableUpcomingFeature("InternalImportsByDefault"),
      ])
  ]
)
