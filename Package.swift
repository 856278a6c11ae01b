// swift-tools-version: 6.2
import PackageDescription

let settings: [SwiftSetting] = [
  .swiftLanguageMode(.v6),
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("InternalImportsByDefault"),
  .enableUpcomingFeature("MemberImportVisibility"),
]

let systemPackage = Target.Dependency.product(name: "SystemPackage", package: "swift-system")

let package = Package(
  name: "spoolfs",
  products: [
    .library(name: "TemporaryFiles", targets: ["TemporaryFiles"]),
    .library(name: "TemporaryFilesTesting", targets: ["TemporaryFilesTesting"]),
    .library(name: "SpoolFS", targets: ["SpoolFS"]),
    .executable(name: "spoolfs", targets: ["spoolfs"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0"),
    .package(url: "https://github.com/apple/swift-crypto", from: "4.0.0"),
    .package(url: "https://github.com/apple/swift-log", from: "1.16.0"),
    .package(url: "https://github.com/apple/swift-system", from: "1.8.0"),
    .package(
      url: "https://github.com/swiftlang/swift-subprocess", from: "1.0.0",
      traits: []),
  ],
  targets: [
    // What Swift cannot import from libc and the kernel headers.
    .target(name: "CSpoolSystem"),
    .systemLibrary(
      name: "CFuse", pkgConfig: "fuse3", providers: [.apt(["libfuse3-dev"])]),
    .systemLibrary(
      name: "CLiburing", pkgConfig: "liburing", providers: [.apt(["liburing-dev"])]),
    .target(name: "CSpoolRing", dependencies: ["CLiburing"]),

    // The bytes of one file, and the budget all files share. It imports the BoringSSL that is in swift-crypto, which has no
    // product of its own.
    .target(
      name: "SpoolStorage",
      dependencies: ["CSpoolSystem", systemPackage, .product(name: "Crypto", package: "swift-crypto")],
      swiftSettings: settings),
    // Python's tempfile, in Swift.
    .target(
      name: "TemporaryFiles", dependencies: ["CSpoolSystem", "SpoolStorage", systemPackage],
      swiftSettings: settings),
    // A trait of Swift Testing; apart, so that only tests link that.
    .target(
      name: "TemporaryFilesTesting", dependencies: ["TemporaryFiles", systemPackage], swiftSettings: settings),
    // The tree, and in Mount/ its bridge to the kernel.
    .target(
      name: "SpoolFS",
      dependencies: [
        "CFuse", "CSpoolRing", "CSpoolSystem", "SpoolStorage", "TemporaryFiles", systemPackage,
        .product(name: "Logging", package: "swift-log"),
      ],
      swiftSettings: settings),
    .executableTarget(
      name: "spoolfs",
      dependencies: [
        "CSpoolSystem", "SpoolFS", "SpoolStorage", "TemporaryFiles", systemPackage,
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
        .product(name: "Logging", package: "swift-log"),
      ],
      swiftSettings: settings),

    // What `scripts/bench` measures the transports with.
    .executableTarget(
      name: "NullFileSystem", dependencies: ["CSpoolSystem", "SpoolFS", systemPackage],
      path: "Benchmarks/NullFileSystem", swiftSettings: settings),

    // What test targets share.
    .target(
      name: "TestSupport", dependencies: [systemPackage], path: "Tests/TestSupport", swiftSettings: settings),
    // A filesystem that fails when a test says so. Nothing depends on it, since its `main` would be linked to the tests'.
    .executableTarget(name: "FaultyDiskServer", dependencies: ["CFuse"], path: "Tests/FaultyDiskServer"),
    .testTarget(
      name: "SpoolStorageTests",
      dependencies: ["TestSupport", "CHostCalls", "SpoolStorage", "CSpoolSystem", systemPackage],
      swiftSettings: settings),
    // Counts what tests allocate.
    .target(name: "CAllocationCounter", path: "Tests/CAllocationCounter"),
    // Ends in ways that a test cannot, and runs as other users.
    .executableTarget(
      name: "TemporaryFilesTestProgram", dependencies: ["CHostCalls", "TemporaryFiles", systemPackage],
      path: "Tests/TemporaryFilesTestProgram", swiftSettings: settings),
    .testTarget(
      name: "TemporaryFilesTests",
      dependencies: [
        "TestSupport",
        "CAllocationCounter", "CHostCalls", "CSpoolSystem", "TemporaryFiles", "TemporaryFilesTestProgram",
        "TemporaryFilesTesting", systemPackage,
      ],
      swiftSettings: settings),
    .testTarget(
      name: "SpoolFSTests", dependencies: ["TestSupport", "SpoolFS", "SpoolStorage", "CSpoolSystem", systemPackage],
      swiftSettings: settings),
    // System calls of the host, for comparing it with the tree.
    .target(name: "CHostCalls", path: "Tests/CHostCalls"),
    .testTarget(
      name: "DifferentialTests",
      dependencies: ["TestSupport", "CHostCalls", "SpoolFS", "SpoolStorage", systemPackage],
      swiftSettings: settings),
    // Serves mounts for tests that may not serve them in their own process.
    .executableTarget(
      name: "MountTestServer", dependencies: ["SpoolFS", "SpoolStorage", systemPackage],
      path: "Tests/MountTestServer", swiftSettings: settings),
    .testTarget(
      name: "MountTests",
      dependencies: [
        "TestSupport",
        "CHostCalls", "MountTestServer", "SpoolFS", "SpoolStorage", "CSpoolRing", "CSpoolSystem", "CFuse",
        systemPackage,
      ],
      swiftSettings: settings),
    .testTarget(
      name: "CommandTests",
      dependencies: [
        "TestSupport", "CSpoolSystem", "SpoolFS", "spoolfs", systemPackage,
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
        .product(name: "Subprocess", package: "swift-subprocess"),
      ],
      swiftSettings: settings),
  ]
)

// `scripts/sanitize` builds no tests but those that it runs: these targets, with blanks between them.
if let wanted = Context.environment["SPOOLFS_TEST_TARGETS"]?.split(separator: " ").map(String.init) {
  package.targets.removeAll { $0.type == .test && !wanted.contains($0.name) }
}
