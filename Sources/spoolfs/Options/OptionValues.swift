public import ArgumentParser
public import SpoolFS

extension FileSystem.Lifetime: ExpressibleByArgument {}

extension MountOptions.Cache: ExpressibleByArgument {}

extension MountOptions.Transport: ExpressibleByArgument {}

/// A value of `-o` or of a long option that is no good.
struct InvalidValue: Error, CustomStringConvertible {
  var description: String
}

/// The permission bits of the root directory, in octal.
func parseMode(_ text: String) throws(InvalidValue) -> UInt32 {
  guard let mode = UInt32(text, radix: 8), mode <= 0o7777, text.first != "+" else {
    throw InvalidValue(description: "'\(text)' is not a mode: write octal permission bits such as 0700 or 1777")
  }
  return mode
}

/// A number of inodes; 0 is no limit, as with tmpfs's `nr_inodes=`.
func parseCount(_ text: String) throws(InvalidValue) -> Int64 {
  guard case .bytes(let count)? = try? SizeAmount(parsing: text) else {
    throw InvalidValue(description: "'\(text)' is not a count: write a number, or a number with k, m or g")
  }
  return count
}

/// A numeric user or group id.
func parseIdentifier(_ text: String) throws(InvalidValue) -> UInt32 {
  guard let id = UInt32(text), id != UInt32.max, text.first != "+" else {
    throw InvalidValue(description: "'\(text)' is not a numeric id")
  }
  return id
}
