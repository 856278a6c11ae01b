import Foundation
import SystemPackage
import Testing

@testable import SpoolFS

extension MountSuites {
  @Suite(.serialized) struct MappingTests {
    private static let page = Int(getpagesize())

    /// A mapping of the start of a file, unmapped when dropped.
    private final class Mapping {
      let bytes: UnsafeMutableRawBufferPointer

      init(_ file: HostFile, _ count: Int, _ flags: Int32, protection: Int32 = PROT_READ | PROT_WRITE) throws(Errno) {
        let address = mmap(nil, count, protection, flags, file.descriptor, 0)
        guard let address, address != MAP_FAILED else { throw Errno(rawValue: errno) }
        bytes = UnsafeMutableRawBufferPointer(start: address, count: count)
      }

      func synchronize() throws(Errno) {
        if msync(bytes.baseAddress, bytes.count, MS_SYNC) != 0 { throw Errno(rawValue: errno) }
      }

      deinit { munmap(bytes.baseAddress!, bytes.count) }
    }

    @Test(arguments: cacheModes) func sharedMappingAndReadsSeeEachOther(_ cache: MountOptions.Cache) async throws {
      try await withServedMount(cache: cache) { tree in
        let data = pattern(3 * Self.page)
        try Host.create(tree("a"), data)
        let file = try HostFile(tree("a"))
        let mapping = try Mapping(file, data.count, MAP_SHARED)
        #expect(mapping.bytes.elementsEqual(data))
        mapping.bytes[Self.page + 5] = 0x77
        try mapping.synchronize()
        #expect(try file.read(1, at: Int64(Self.page + 5)) == [0x77])
        try file.write([0x11], at: 9)
        #expect(mapping.bytes[9] == 0x11)
      }
    }

    @Test(arguments: cacheModes) func privateMappingKeepsItsChanges(_ cache: MountOptions.Cache) async throws {
      try await withServedMount(cache: cache) { tree in
        let data = pattern(2 * Self.page)
        try Host.create(tree("a"), data)
        let file = try HostFile(tree("a"))
        let mapping = try Mapping(file, data.count, MAP_PRIVATE)
        mapping.bytes[3] = data[3] &+ 1
        #expect(try file.read(data.count) == data)
        #expect(mapping.bytes[3] == data[3] &+ 1)
        #expect(mapping.bytes[4] == data[4])
      }
    }

    @Test(arguments: cacheModes) func mappingOutlivesCloseAndUnlink(_ cache: MountOptions.Cache) async throws {
      try await withServedMount(smallThreshold.storage, cache: cache) { tree in
        let data = pattern(100 * Self.page)
        try Host.create(tree("a"), data)
        var file: HostFile? = try HostFile(tree("a"))
        let mapping = try Mapping(file!, data.count, MAP_SHARED)
        file = nil
        try Host.unlink(tree("a"))
        mapping.bytes[50 * Self.page] = 0x55
        try mapping.synchronize()
        #expect(mapping.bytes[50 * Self.page] == 0x55)
        #expect(mapping.bytes[99 * Self.page + 1] == data[99 * Self.page + 1])
      }
    }

    @Test(arguments: cacheModes) func mappingGrowsWithTheFile(_ cache: MountOptions.Cache) async throws {
      // Across the threshold as well.
      try await withServedMount(smallThreshold.storage, cache: cache) { tree in
        let file = try HostFile(tree("a"), O_CREAT | O_RDWR)
        try file.resize(to: Int64(Self.page))
        let count = 40 * Self.page
        let mapping = try Mapping(file, count, MAP_SHARED)
        mapping.bytes[0] = 1
        try file.resize(to: Int64(count))
        for page in 1..<40 { mapping.bytes[page * Self.page] = UInt8(page) }
        try mapping.synchronize()
        for page in 1..<40 { #expect(try file.read(1, at: Int64(page * Self.page)) == [UInt8(page)]) }
        #expect(try file.read(1) == [1])
      }
    }

    @Test(arguments: cacheModes) func executesAProgramFromTheMount(_ cache: MountOptions.Cache) async throws {
      try await withServedMount(cache: cache) { tree in
        try FileManager.default.copyItem(atPath: "/bin/echo", toPath: tree("echo"))
        try Host.changeMode(tree("echo"), 0o700)
        let process = Process()
        process.executableURL = URL(fileURLWithPath: tree("echo"))
        process.arguments = ["from the mount"]
        let output = Pipe()
        process.standardOutput = output
        try process.run()
        let text = output.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        #expect(String(decoding: text, as: UTF8.self) == "from the mount\n")
        #expect(process.terminationStatus == 0)
      }
    }
  }
}
