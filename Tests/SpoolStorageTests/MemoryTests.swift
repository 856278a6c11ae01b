import Glibc
import SpoolStorage
import SystemPackage
import TestSupport
import Testing

private func residentBytes() -> Int {
  guard let file = fopen("/proc/self/statm", "r") else { return 0 }
  defer { fclose(file) }
  var line = [CChar](repeating: 0, count: 200)
  fgets(&line, 200, file)
  let fields = line.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }.split(separator: " ")
  return (fields.count > 1 ? Int(fields[1]) ?? 0 : 0) * 4096
}

@Suite(.enabled(if: !isSanitized, "measures memory")) struct MemoryTests {
  @Test func `a million files of 1 KiB take less than 1.5 GiB, and return it`() async {
    await #expect(processExitsWith: .success) {
      let store = try makeStore(budget: 4 << 30)
      let before = residentBytes()
      let bytes = pattern(1024)
      do {
        var files: [FileContent] = []
        files.reserveCapacity(1_000_000)
        for _ in 0..<1_000_000 {
          let file = FileContent(store: store)
          try file.write(bytes, at: 0)
          files.append(file)
        }
        let each = (residentBytes() - before) / 1_000_000
        #expect(each < 1400, "\(each) bytes for each file")
        #expect(store.usage.memoryBytes == 1_024_000_000)
        #expect(store.usage.dataBytes == 4_096_000_000)
        try expect(files[999_999], reads: bytes, asking: 2000)
      }
      expectNothingUsed(store)
      #expect(eventually { residentBytes() - before < 50 << 20 })
    }
  }

  @Test func `an empty file takes little more than its object`() async {
    await #expect(processExitsWith: .success) {
      let store = try makeStore()
      let before = residentBytes()
      let files = (0..<200_000).map { _ in FileContent(store: store) }
      let each = (residentBytes() - before) / files.count
      #expect(each < 160, "\(each) bytes for each file")
    }
  }

  @Test func `appending byte by byte keeps the buffer in proportion`() throws {
    let file = FileContent(store: try makeStore())
    for index in 0..<20_000 {
      try file.append([UInt8(truncatingIfNeeded: index)])
      #expect(file.bytesInMemory <= 2 * file.size)
    }
    try file.resize(to: 100)
    #expect(file.bytesInMemory == 100)
  }
}
