internal import CSpoolSystem
internal import Glibc
package import SystemPackage

/// The directory a tree is mounted on, and the system calls that mount and unmount.
package enum MountPoint {
  // MARK: - Before

  /// The absolute path without symbolic links of a directory that can be mounted on.
  ///
  /// - Throws: `.notFound`, `.notADirectory`, `.directoryNotEmpty`, `.deadMount`, `.permissionDenied`.
  static func resolve(_ path: FilePath, mayHaveEntries: Bool) throws(SpoolFSError) -> FilePath {
    let resolved: FilePath
    do throws(Errno) { resolved = try absolute(path) } catch {
      switch error {
      case .socketNotConnected: throw dead(path, error)
      case .noSuchFileOrDirectory:
        throw SpoolFSError(
          .notFound, operation: "mount", path: path, errno: error, message: "the directory does not exist")
      default: throw SpoolFSError(errno: error, operation: "mount", path: path)
      }
    }
    guard let directory = resolved.withPlatformString({ opendir($0) }) else {
      let code = Errno(rawValue: errno)
      switch code {
      case .notDirectory:
        throw SpoolFSError(
          .notADirectory, operation: "mount", path: path, errno: code, message: "the mount point is not a directory")
      case .socketNotConnected: throw dead(path, code)
      default: throw SpoolFSError(errno: code, operation: "mount", path: path)
      }
    }
    defer { closedir(directory) }
    // What is asked of a directory may be answered from the kernel's caches, long after its server has died.
    var status = statfs()
    if fstatfs(dirfd(directory), &status) != 0, isEndOfServer(errno) { throw dead(path, Errno(rawValue: errno)) }
    if mayHaveEntries { return resolved }
    while let entry = readdir(directory) {
      let isDot = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
        bytes[0] == UInt8(ascii: ".") && (bytes[1] == 0 || (bytes[1] == UInt8(ascii: ".") && bytes[2] == 0))
      }
      if !isDot {
        throw SpoolFSError(
          .directoryNotEmpty, operation: "mount", path: path, errno: .directoryNotEmpty,
          message: "the mount point is not empty")
      }
    }
    return resolved
  }

  /// realpath(3).
  package static func absolute(_ path: FilePath) throws(Errno) -> FilePath {
    guard let resolved = path.withPlatformString({ realpath($0, nil) }) else { throw Errno(rawValue: errno) }
    defer { free(resolved) }
    return FilePath(platformString: resolved)
  }

  /// Whether the server of the mount at `path` is gone.
  ///
  /// By statfs(2), which the kernel always asks the server: it answers stat(2) from its cache, also for a server that has
  /// died. Waits for a server that does not answer.
  package static func isDead(_ path: FilePath) -> Bool {
    var status = statfs()
    return path.withPlatformString({ statfs($0, &status) }) != 0 && isEndOfServer(errno)
  }

  /// ENOTCONN: the server is gone. ECONNABORTED: it went while it was asked.
  package static func isEndOfServer(_ error: Int32) -> Bool { error == ENOTCONN || error == ECONNABORTED }

  private static func dead(_ path: FilePath, _ errno: Errno) -> SpoolFSError {
    SpoolFSError(
      .deadMount, operation: "mount", path: path, errno: errno,
      message: "a mount whose process has died is in the way; unmount it first")
  }

  // MARK: - Mounting

  /// What a mount is made of, besides its place.
  struct Plan {
    var options: MountOptions
    /// Whether the kernel checks permission bits. A mount of root's that nobody else can enter needs no checks.
    var checksPermissions: Bool
  }

  /// Mounts directly as root, else through fusermount3.
  static func mount(_ plan: Plan, at path: FilePath) throws(SpoolFSError) -> Fusermount.Result {
    if geteuid() == 0, !plan.options.unmountsWhenProcessDies {
      return Fusermount.Result(device: try mountDirectly(plan, at: path), guardian: nil)
    }
    return try Fusermount.mount(
      plan.helperOptions, at: path, staying: plan.options.unmountsWhenProcessDies)
  }

  private static func mountDirectly(_ plan: Plan, at path: FilePath) throws(SpoolFSError) -> Int32 {
    let device = try openDevice(path)
    let options =
      ["fd=\(device)", "rootmode=40000", "user_id=\(getuid())", "group_id=\(getgid())"] + plan.kernelOptions
    let code = path.withPlatformString { target in
      Glibc.mount(
        plan.options.sourceName, target, "fuse." + MountOptions.subtype, plan.options.flags.rawValue,
        options.joined(separator: ","))
    }
    if code == 0 { return device }
    let reason = Errno(rawValue: errno)
    close(device)
    switch reason {
    case .notPermitted:
      throw SpoolFSError(
        .permissionDenied, operation: "mount", path: path, errno: reason,
        message: "mounting is not permitted here: it needs CAP_SYS_ADMIN, which containers often lack")
    case .operationNotSupportedByDevice:
      throw SpoolFSError(
        .deviceMissing, operation: "mount", path: path, errno: reason, message: "this kernel has no FUSE")
    default:
      throw SpoolFSError(
        .mountRefused, operation: "mount", path: path, errno: reason, message: "the kernel refuses: \(reason)")
    }
  }

  private static func openDevice(_ path: FilePath) throws(SpoolFSError) -> Int32 {
    let device = spool_openat(AT_FDCWD, "/dev/fuse", O_RDWR | O_CLOEXEC, 0)
    if device >= 0 { return device }
    let reason = Errno(rawValue: errno)
    switch reason {
    case .noSuchFileOrDirectory, .operationNotSupportedByDevice, .noSuchAddressOrDevice:
      throw SpoolFSError(
        .deviceMissing, operation: "mount", path: path, errno: reason,
        message: "there is no /dev/fuse: load the kernel module (modprobe fuse), or give the device to the container")
    case .permissionDenied, .notPermitted:
      throw SpoolFSError(
        .devicePermission, operation: "mount", path: path, errno: reason,
        message: "no permission to open /dev/fuse; a container must be given the device")
    default:
      throw SpoolFSError(errno: reason, operation: "open /dev/fuse to mount", path: path)
    }
  }

  // MARK: - Unmounting

  /// umount2(2) where permitted, else fusermount3.
  ///
  /// - Parameter lazily: MNT_DETACH: gone from the tree of directories now, served until its last user has gone.
  /// - Throws: `.busy`, `.notMounted`, `.helperMissing`, `.permissionDenied`, `.failed`.
  package static func unmount(_ path: FilePath, lazily: Bool) throws(SpoolFSError) {
    let flags = UMOUNT_NOFOLLOW | (lazily ? MNT_DETACH : 0)
    if path.withPlatformString({ umount2($0, Int32(flags)) }) == 0 { return }
    let reason = Errno(rawValue: errno)
    switch reason {
    case .notPermitted:
      try Fusermount.unmount(path, lazily: lazily)
    case .resourceBusy:
      throw SpoolFSError(
        .busy, operation: "unmount", path: path, errno: reason,
        message: "somebody has a file or directory of it open, or works in it")
    case .invalidArgument:
      throw SpoolFSError(
        .notMounted, operation: "unmount", path: path, errno: reason, message: "nothing is mounted there")
    default:
      throw SpoolFSError(errno: reason, operation: "unmount", path: path)
    }
  }
}

extension MountPoint {
  /// Ends the connection between a mount and its server, so that whoever waits for an answer gets ENOTCONN. The mount
  /// stays, dead.
  ///
  /// By the connection's control file, which belongs to the user who mounted, where the control filesystem (fusectl) is
  /// mounted; elsewhere root looks into a control filesystem that is mounted nowhere. Where that fails, by umount2(2) with
  /// MNT_FORCE, which only root may call, and which may take the mount away, too.
  ///
  /// - Returns: nil, or what open(2) of the control file fails with where nothing else helps.
  @discardableResult
  package static func abort(_ mount: MountEntry) -> Errno? {
    let refusal: Errno
    do throws(Errno) {
      try writeAbort(to: mount.minor, in: AT_FDCWD, "/sys/fs/fuse/connections/")
      return nil
    } catch {
      refusal = error
    }
    let connections = spool_open_fuse_control()
    if connections >= 0 {
      defer { close(connections) }
      if (try? writeAbort(to: mount.minor, in: connections, "")) != nil { return nil }
    }
    let isDone = mount.path.withPlatformString { umount2($0, Int32(MNT_FORCE | UMOUNT_NOFOLLOW)) } == 0
    // The connection is aborted also where the mount is in use and stays.
    return isDone || errno == EBUSY ? nil : refusal
  }

  private static func writeAbort(to connection: Int, in directory: Int32, _ path: String) throws(Errno) {
    let control = spool_openat(directory, "\(path)\(connection)/abort", O_WRONLY | O_CLOEXEC, 0)
    guard control >= 0 else { throw Errno(rawValue: errno) }
    defer { close(control) }
    guard write(control, "1", 1) == 1 else { throw Errno(rawValue: errno) }
  }
}

extension MountPoint.Plan {
  /// Options of the filesystem, beyond those of every FUSE mount.
  fileprivate var kernelOptions: [String] {
    (checksPermissions ? ["default_permissions"] : []) + (options.allowOther ? ["allow_other"] : [])
  }

  /// Everything as `fusermount3 -o` wants it.
  fileprivate var helperOptions: String {
    let names: [(MountOptions.Flags, set: String, clear: String?)] = [
      (.readOnly, "ro", "rw"), (.noSetUserID, "nosuid", "suid"), (.noDevices, "nodev", "dev"),
      (.noExecution, "noexec", "exec"), (.synchronous, "sync", nil), (.directorySynchronous, "dirsync", nil),
      (.noAccessTimes, "noatime", nil), (.noDirectoryAccessTimes, "nodiratime", nil),
    ]
    // Users other than root may not ask for suid and dev; leaving them out is the same for root.
    let flags = names.compactMap { flag, set, clear in
      options.flags.contains(flag) ? set : geteuid() == 0 ? clear : nil
    }
    let staying = options.unmountsWhenProcessDies ? ["auto_unmount"] : []
    let source = options.sourceName.replacing("\\", with: "\\\\").replacing(",", with: "\\,")
    return (flags + ["fsname=\(source)", "subtype=\(MountOptions.subtype)"] + kernelOptions + staying)
      .joined(separator: ",")
  }
}
