import CHostCalls
import Glibc

/// Whether what is stamped later never has an earlier stamp, over all directories of one comparison.
final class StampOrder {
  private var latest: Int64 = 0

  /// What `status` says of a file's stamps.
  struct Stamps: Equatable {
    var inode: UInt64
    var modified: Int64
    var changed: Int64

    init(_ status: host_stat) {
      (inode, modified, changed) = (status.inode, status.modified, status.changed)
    }
  }

  /// Takes in what an operation did to the stamps of one file.
  ///
  /// - Parameter setsTimes: whether it gives files a modification time of its own choice.
  /// - Returns: empty, or what is wrong.
  func add(_ before: Stamps?, _ after: Stamps?, setsTimes: Bool) -> String {
    guard let after, before != after else { return "" }
    var stamps = [after.changed]
    if let before, before.inode == after.inode, before.modified != after.modified, !setsTimes {
      stamps.append(after.modified)
    }
    pending = max(pending, stamps.max()!)
    return stamps.filter { $0 < latest }.map { " stamped \(latest - $0) ns too early" }.joined()
  }

  /// The stamps of one operation have no order among themselves.
  func endOperation() { latest = max(latest, pending) }

  private var pending: Int64 = 0
}

extension Operation {
  /// Names of what it may stamp, with the directories that they are in.
  var stampedNames: [String] {
    let names =
      switch self {
      case .create(let name, _, _), .makeDirectory(let name, _), .makeNode(let name, _, _), .makeSymlink(let name, _),
        .unlink(let name), .removeDirectory(let name), .changeMode(let name, _), .changeOwner(let name, _, _),
        .setTimes(let name, _, _), .truncate(let name, _), .open(_, let name, _):
        [name]
      case .link(let old, let new), .rename(let old, let new, _): [old, new]
      default: [String]()
      }
    return names
      + names.map { name in name.lastIndex(of: "/").map { slash in String(name[..<slash]) } ?? "." }
  }

  /// The open file that it may stamp.
  var stampedSlot: Int? {
    switch self {
    case .write(let slot, _, _, _), .append(let slot, _, _), .resize(let slot, _), .allocate(let slot, _, _, _),
      .copy(_, _, let slot, _, _):
      slot
    default: nil
    }
  }

  var setsTimes: Bool {
    if case .setTimes = self { true } else { false }
  }
}
