internal import Glibc

/// Bytes of memory that this machine has.
package func physicalMemory() -> Int64 {
  Int64(sysconf(Int32(_SC_PHYS_PAGES))) * Int64(sysconf(Int32(_SC_PAGESIZE)))
}

/// Bytes of memory that this process may use: the machine's, or less where a control group above it has a limit.
package func usableMemory() -> Int64 {
  let machine = physicalMemory()
  let limit = ControlGroups(membership: contentsOfSystemFile("/proc/self/cgroup") ?? "").memoryLimit()
  return min(machine, limit ?? machine)
}

/// The control groups of a process, from its /proc/PID/cgroup, version 1 and 2.
struct ControlGroups {
  /// Directories of limit files from the process's group up to the root, and the name of the limit there.
  private var places: [(root: String, path: String, file: String)] = []

  init(membership: String, root: String = "/sys/fs/cgroup") {
    for line in membership.split(separator: "\n") {
      // hierarchy:controllers:path
      let fields = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
      guard fields.count == 3 else { continue }
      let path = String(fields[2])
      if fields[0] == "0" {
        places.append((root, path, "memory.max"))
        places.append((root + "/unified", path, "memory.max"))
      } else if fields[1].split(separator: ",").contains("memory") {
        places.append((root + "/memory", path, "memory.limit_in_bytes"))
      }
    }
  }

  /// The smallest limit of the group and those above it. In a container the group's path may not exist under the root
  /// that is seen there; the root is then the group.
  func memoryLimit(reading read: (String) -> String? = contentsOfSystemFile) -> Int64? {
    var smallest: Int64?
    for place in places {
      var components = place.path.split(separator: "/")
      while true {
        let directory = ([Substring(place.root)] + components).joined(separator: "/")
        // "max", and version 1's number close to 2^63, are no limits.
        if let text = read(directory + "/" + place.file), let limit = Int64(text.filter { $0.isNumber }) {
          smallest = min(smallest ?? limit, limit)
        }
        if components.isEmpty { break }
        components.removeLast()
      }
    }
    return smallest
  }
}
