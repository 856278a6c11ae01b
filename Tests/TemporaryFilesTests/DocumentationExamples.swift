import SystemPackage
import TemporaryFiles

// The examples of the documentation, as they stand there: `DocumentationTests` compares the two, and runs them.

enum Overview {
  static func sum(of upload: [UInt8]) throws -> Int {
    try withSpooledTemporaryFile(threshold: .bytes(1 << 20)) { file in
      try file.write(upload)
      try file.seek(to: 0)
      var sum = 0
      while let line = try file.readLine() { sum += line.count }
      return sum
    }
  }
}

enum Choosing {
  static func countLines(_ text: String) throws -> Int {
    try withTemporaryFile { file in
      try file.write(contentsOf: text.utf8)
      try file.seek(to: 0)
      return try file.readLines().count
    }
  }

  struct Upload: ~Copyable {
    var file: SpooledTemporaryFile

    init(store: SpoolStore) throws {
      file = try SpooledTemporaryFile(maximumSize: 1 << 30, store: store)
    }

    mutating func append(_ bytes: [UInt8]) throws {
      try file.write(bytes)
    }

    consuming func finish(at path: FilePath) throws {
      try file.persist(to: path, synchronize: true)
    }
  }

  static func makeUploadStore() throws -> SpoolStore {
    try SpoolStore(
      SpoolConfiguration(
        threshold: .bytes(1 << 20), memoryBudget: 64 << 20, spillDirectory: "/var/tmp"))
  }

  static func replace(_ path: FilePath, with text: String) throws {
    var file = try NamedTemporaryFile(in: path.removingLastComponent())
    try file.write(contentsOf: text.utf8)
    try file.persist(to: path, synchronize: true)
  }

  static func archive(_ parts: [[UInt8]], to path: FilePath) async throws {
    try await withSpooledTemporaryFile(threshold: .bytes(1 << 20)) { file in
      for part in parts {
        try Task.checkCancellation()
        try await file.write(part)
      }
      try await file.persist(to: path)
    }
  }
}

enum FromPython {
  static func temporaryFile() throws -> [UInt8] {
    var file = try TemporaryFile()
    try file.write(contentsOf: "Hello world!".utf8)
    try file.seek(to: 0)
    let bytes = try file.readToEnd()
    try file.close()
    return bytes
  }

  static func scope() throws -> [UInt8] {
    let contents = try withTemporaryFile { file in
      try file.write(contentsOf: "Hello world!".utf8)
      try file.seek(to: 0)
      return try file.readToEnd()
    }
    return contents
  }

  static func closedAndOpenedAgain() throws {
    try withNamedTemporaryFile(cleanup: .onScopeExit) { file in
      try file.write(contentsOf: "Hello world!".utf8)
      try file.close()
      let again = try file.reopen(.readOnly)
      try again.close()
    }
  }

  static func directory(_ print: (String, FilePath) -> Void) throws {
    try withTemporaryDirectory { directory in
      print("created temporary directory", directory.path)
    }
  }

  static func kept(_ print: (FilePath) -> Void) throws {
    var kept = try NamedTemporaryFile(cleanup: .never)
    print(kept.path)
    try kept.write(contentsOf: "Hello World!\n".utf8)
    try kept.close()
    try kept.remove()
  }

  static func text() throws -> String? {
    var text = TextStream(
      try SpooledTemporaryFile(threshold: .bytes(1000)), encoding: .latin1, newline: .crlf)
    try text.write("grün\n")
    try text.seekToStart()
    let line = try text.readLine()
    try text.close()
    return line
  }
}
