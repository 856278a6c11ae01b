internal import CSpoolSystem
internal import Glibc
internal import SpoolFS
internal import SpoolStorage
internal import SystemPackage

/// What must be there before anything is mounted, each with its own message: libfuse alone would say "mount failed".
enum Preconditions {
  static func check(_ settings: Settings) throws(CommandFailure) {
    try checkProc()
    try checkDevice()
    try SpillDirectoryCheck.check(settings)
    if settings.encryptsSpill { try checkLockedMemory() }
    guard geteuid() != 0 else { return }
    if !settings.flags.isSuperset(of: [.noSetUserID, .noDevices]) {
      throw CommandFailure(
        .noPermission, "-o suid and -o dev are for root: leave them out, or have root mount with allow_other")
    }
    if settings.allowOther, !allowsOther() {
      throw CommandFailure(
        .noPermission, "--allow-other is for root, unless /etc/fuse.conf has the line 'user_allow_other'")
    }
  }

  /// Mounts are found in /proc, and the processes that look after them are started through it.
  static func checkProc() throws(CommandFailure) {
    guard access("/proc/self/mountinfo", R_OK) != 0 else { return }
    throw CommandFailure(.system, "there is no /proc, which spoolfs needs: mount -t proc proc /proc")
  }

  private static func checkDevice() throws(CommandFailure) {
    let descriptor = spool_openat(AT_FDCWD, "/dev/fuse", O_RDWR | O_CLOEXEC, 0)
    if descriptor >= 0 {
      close(descriptor)
      return
    }
    switch Errno(rawValue: errno) {
    case .noSuchFileOrDirectory:
      throw CommandFailure(
        .noDevice, "there is no /dev/fuse: load the kernel module (modprobe fuse), or give the container the device")
    case .noSuchAddressOrDevice, .operationNotSupportedByDevice:
      throw CommandFailure(.noDevice, "/dev/fuse has no driver: load the kernel module (modprobe fuse)")
    case let error:
      throw CommandFailure(.noPermission, "cannot open /dev/fuse", error)
    }
  }

  private static func checkLockedMemory() throws(CommandFailure) {
    do throws(Errno) {
      try SpillKey.check()
    } catch {
      throw CommandFailure(
        .system, "cannot lock memory for the key of --encrypt-spill; 'ulimit -l' must leave room for 4 KiB", error)
    }
  }

  private static func allowsOther() -> Bool {
    let text = (try? readFile("/etc/fuse.conf")) ?? []
    return text.split(separator: 10).contains { line in
      line.filter { $0 != 32 && $0 != 9 }.elementsEqual("user_allow_other".utf8)
    }
  }
}
