internal import Glibc
package import SystemPackage

/// Names for temporary files: what Python's `tempfile._RandomNameSequence` makes.
public enum TemporaryName {
  /// How many names are tried before giving up: Python's `tempfile.TMP_MAX`.
  public static let maximumAttempts = 10_000

  /// 36 characters: lower case, since the directory may be on a filesystem that folds case.
  package static let alphabet = Array("abcdefghijklmnopqrstuvwxyz0123456789".utf8)

  /// The random characters of a name. 36^12 is 2^62.
  static let randomLength = 12

  /// A name of `length` random characters of `[a-z0-9]`, from the system's random source. A forked child does not
  /// repeat its parent's names.
  ///
  /// - Complexity: O(`length`).
  public static func random(length: Int = 12) -> String {
    String(unsafeUninitializedCapacity: length) { buffer in
      fillRandomly(buffer)
      return length
    }
  }

  /// Fills the buffer with random characters, twelve from each 64 bits of the system's random source.
  static func fillRandomly(_ buffer: UnsafeMutableBufferPointer<UInt8>) {
    var source = RandomPool()
    var random: UInt64 = 0
    for index in buffer.indices {
      if index % randomLength == 0 { random = UInt64.random(in: 0..<4_738_381_338_321_616_896, using: &source) }
      buffer[index] = alphabet[Int(random % 36)]
      random /= 36
    }
  }
}

/// A name with random characters in the middle, as the system wants it: in a buffer, with a NUL at the end. Each attempt
/// changes the random part in place.
package struct NameTemplate: ~Copyable {
  /// What a directory entry can hold (NAME_MAX).
  private static let longest = 255

  private let prefix: Int
  private let buffer: UnsafeMutableBufferPointer<UInt8>

  /// - Throws: `invalidName` for a slash or NUL in prefix or suffix, and for a name longer than 255 bytes.
  package init(prefix: NameAffix, suffix: NameAffix, for operation: String) throws(TemporaryFileError) {
    for affix in [prefix, suffix] where affix.bytes.contains(where: { $0 == 0 || $0 == UInt8(ascii: "/") }) {
      throw TemporaryFileError(
        .invalidName, operation: operation,
        message: "\(String(reflecting: affix.description)) holds a slash or a NUL, which no name can")
    }
    let length = prefix.bytes.count + TemporaryName.randomLength + suffix.bytes.count
    guard length <= Self.longest else {
      throw TemporaryFileError(
        .invalidName, operation: operation, errno: .fileNameTooLong,
        message: "the name would have \(length) bytes, and names have at most \(Self.longest)")
    }
    self.prefix = prefix.bytes.count
    buffer = .allocate(capacity: length + 1)
    _ = buffer[..<prefix.bytes.count].update(fromContentsOf: prefix.bytes)
    _ = buffer[(self.prefix + TemporaryName.randomLength)..<length].update(fromContentsOf: suffix.bytes)
    buffer[length] = 0
  }

  deinit { buffer.deallocate() }

  /// Calls `body` with one name after the other until it does not throw EEXIST.
  ///
  /// - Throws: what `body` throws, and `namesExhausted` after ``TemporaryName/maximumAttempts`` names.
  package borrowing func withUnusedName<Result: ~Copyable>(
    for operation: String, in directory: FilePath,
    _ body: (UnsafePointer<CChar>) throws(Errno) -> Result
  ) throws(TemporaryFileError) -> Result {
    let random = UnsafeMutableBufferPointer(rebasing: buffer[prefix..<prefix + TemporaryName.randomLength])
    for _ in 0..<TemporaryName.maximumAttempts {
      TemporaryName.fillRandomly(random)
      do throws(Errno) {
        return try body(UnsafeRawPointer(buffer.baseAddress!).assumingMemoryBound(to: CChar.self))
      } catch .fileExists {
        continue
      } catch {
        throw TemporaryFileError(errno: error, operation: operation, path: directory)
      }
    }
    throw TemporaryFileError(
      .namesExhausted, operation: operation, path: directory, errno: .fileExists,
      message: "all of \(TemporaryName.maximumAttempts) names tried exist")
  }
}
