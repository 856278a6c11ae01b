import SpoolStorage
import Testing

@testable import SpoolFS

/// Options for each cache mode, all else as it is by default.
let cacheModes = MountOptions.Cache.allCases

/// Small enough that a test file crosses from memory to disk.
let smallThreshold = FileSystem.Configuration(storage: .init(threshold: .bytes(64 * 1024)))
