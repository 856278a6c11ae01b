internal import SystemPackage

/// The `key=value,…` lists of `-o`, as mount(8) and fstab(5) write them: tmpfs's names, the flags of any mount, and the
/// long options with `_` for `-`.
struct OptionList {
  /// A page, the unit of tmpfs's `nr_blocks=`.
  private static let blockSize: Int64 = 4096

  /// Puts every item of `list` into `settings`, later items over earlier ones. `\,` is a comma inside a value.
  static func apply(
    _ list: String, to settings: inout Settings, ignoringUnknown: Bool = false
  ) throws(InvalidValue) {
    for item in split(list) where !item.isEmpty {
      let parts = item.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
      do {
        if parts.count == 2 {
          if try set(parts[0], to: parts[1], in: &settings) { continue }
        } else if enable(parts[0], in: &settings) {
          continue
        }
      } catch {
        throw InvalidValue(description: "-o \(parts[0]): \(error)")
      }
      guard MountFlags.apply(item, to: &settings.flags) || ignoringUnknown else {
        throw InvalidValue(description: unknown(item, key: parts[0], hasValue: parts.count == 2))
      }
    }
  }

  private static func enable(_ key: String, in settings: inout Settings) -> Bool {
    switch key {
    case "allow_other": settings.allowOther = true
    case "nonempty": settings.nonEmpty = true
    case "encrypt_spill": settings.encryptsSpill = true
    case "no_swap", "noswap": settings.staysOutOfSwap = true
    case "xattr", "user_xattr": settings.extendedAttributes = true
    case "noxattr", "nouser_xattr": settings.extendedAttributes = false
    default: return false
    }
    return true
  }

  private static func set(_ key: String, to value: String, in settings: inout Settings) throws -> Bool {
    switch key {
    case "threshold": settings.threshold = try SizeAmount(parsing: value)
    case "memory": settings.memory = try SizeAmount(parsing: value)
    case "spill_dir": settings.spillDirectory = CommandLineBytes.path(value)
    case "spill_max": settings.spillCapacity = try SizeAmount(parsing: value)
    case "size": settings.size = try unlimitedIfZero(SizeAmount(parsing: value))
    case "nr_blocks": settings.size = try unlimitedIfZero(blocks(value))
    case "nr_inodes", "inodes": settings.inodes = try parseCount(value)
    case "mode": settings.mode = try parseMode(value)
    case "uid": settings.user = try parseIdentifier(value)
    case "gid": settings.group = try parseIdentifier(value)
    case "lifetime": settings.lifetime = try choice(value)
    case "cache": settings.cache = try choice(value)
    case "transport": settings.transport = try choice(value)
    default: return false
    }
    return true
  }

  private static func blocks(_ value: String) throws(InvalidValue) -> SizeAmount {
    let (bytes, overflow) = try parseCount(value).multipliedReportingOverflow(by: blockSize)
    guard !overflow else { throw InvalidValue(description: "'\(value)' is too large") }
    return .bytes(bytes)
  }

  /// `size=0` and `nr_blocks=0` are no limit, as with tmpfs.
  private static func unlimitedIfZero(_ amount: SizeAmount) -> SizeAmount {
    amount == .bytes(0) ? .unlimited : amount
  }

  private static func choice<Value: CaseIterable & RawRepresentable>(
    _ value: String
  ) throws(InvalidValue) -> Value where Value.RawValue == String {
    if let choice = Value(rawValue: value) { return choice }
    let choices = Value.allCases.map(\.rawValue).joined(separator: ", ")
    throw InvalidValue(description: "'\(value)' is none of \(choices)")
  }

  private static func unknown(_ item: String, key: String, hasValue: Bool) -> String {
    if ["huge", "mpol", "swap", "inode32", "inode64", "quota", "usrquota", "grpquota"].contains(key) {
      return "-o \(item): this option of tmpfs has no meaning for spoolfs"
    }
    var settings = Settings()
    if hasValue, enable(key, in: &settings) || MountFlags.apply(key, to: &settings.flags) {
      return "-o \(key) takes no value"
    }
    if !hasValue, (try? set(key, to: "", in: &settings)) != false {
      return "-o \(key) needs a value: \(key)=…"
    }
    return "unknown option '\(item)' in -o"
  }

  private static func split(_ list: String) -> [String] {
    var items = [""]
    var escaped = false
    for character in list {
      if escaped {
        items[items.count - 1].append(contentsOf: character == "," ? "," : "\\\(character)")
        escaped = false
      } else if character == "\\" {
        escaped = true
      } else if character == "," {
        items.append("")
      } else {
        items[items.count - 1].append(character)
      }
    }
    if escaped { items[items.count - 1].append("\\") }
    return items
  }
}
