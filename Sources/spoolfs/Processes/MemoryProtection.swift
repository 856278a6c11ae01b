internal import CSpoolSystem
internal import SpoolFS
internal import SpoolStorage
internal import SystemPackage

/// What the process that serves does so that the data of files stays with it.
enum MemoryProtection {
  /// From now on other processes of the same user can neither trace this one nor read its memory, and it leaves no core
  /// dump. Programs that it starts are as any other.
  ///
  /// The kernel gives most of /proc/PID to root then. What is in the way of nobody stays readable: `status`, `cmdline`,
  /// `mountinfo`.
  static func hide() { spool_set_undumpable() }

  /// Keeps all of this process's memory out of swap (mlockall(2)): the data of files, their names, and the buffers of
  /// requests.
  static func lock(_ settings: Settings) throws(CommandFailure) {
    let budget = settings.tree.storage.memoryBudget ?? usableMemory() / 4
    do throws(Errno) {
      try AddressSpace.lock(budget: budget)
    } catch {
      let needed = StatusCommand.bytes(AddressSpace.lockedSize(budget: budget))
      throw CommandFailure(
        .system,
        """
        --no-swap cannot lock memory: 'ulimit -l' is \(limit()), and with --memory \(StatusCommand.bytes(budget)) it takes \
        \(needed), or CAP_IPC_LOCK
        """, error)
    }
  }

  private static func limit() -> String {
    AddressSpace.lockLimit == .max ? "unlimited" : StatusCommand.bytes(AddressSpace.lockLimit)
  }
}
