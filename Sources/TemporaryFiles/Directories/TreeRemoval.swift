internal import CSpoolSystem
internal import Glibc
internal import SpoolStorage
package import SystemPackage

/// What the command removes beside temporary directories.
package enum DirectoryTree {
  /// Removes whatever is at `path`: a directory with everything in it, or another entry.
  ///
  /// - Throws: what the first entry that could not be removed failed with. What could be removed is gone then.
  package static func remove(_ path: FilePath) throws(Errno) {
    if path.withPlatformString({ unlink($0) }) == 0 { return }
    let error = currentErrno()
    if error == .noSuchFileOrDirectory { return }
    // Linux says EISDIR, POSIX EPERM.
    guard error == .isDirectory || error == .notPermitted else { throw error }
    do {
      try TreeRemoval.remove(path, FileIdentity(at: path))
    } catch let error as TemporaryFileError {
      throw error.errno ?? .ioError
    } catch let error as Errno {
      throw error
    } catch {
      throw .ioError
    }
  }
}

/// Removes a directory with everything in it, as `rm -rf` would, and never anything that is not in it.
///
/// Every step is relative to an open directory and follows no link, so whatever somebody swaps in meanwhile, nothing
/// outside is opened, changed or removed. Neither depth nor width needs more than a few descriptors: some directories on
/// the way down stay open, the others are found again through "..", if that still leads to the same directory.
/// Other filesystems that are mounted in the tree, bind mounts included, are left alone with EBUSY.
struct TreeRemoval: ~Copyable {
  /// A directory that is being emptied.
  struct Frame {
    /// Its name in the frame before.
    let name: EntryName
    let identity: FileIdentity
    /// -1 when closed. The first frame's and the last one's are open.
    var file: Int32
    /// Subdirectories of the last listing that are still to come.
    var pending: [EntryName] = []
    /// Entries that could not be removed and are not tried again.
    var failed: Set<EntryName> = []
    var passes = 0
    var needsListing = true
    /// Whether something has changed since the last listing began, so that another may show what that one did not.
    var hasChanged = false
  }

  /// What could not be removed.
  struct Failure {
    let path: FilePath
    let errno: Errno
    let reason: String
    var count = 1
  }

  /// A directory that is filled while it is emptied is listed at most this often.
  static let maximumPasses = 64
  /// Directories on the way down that stay open, besides the first.
  static let maximumOpen = 24

  let root: FilePath
  /// The directory that `root` is an entry of.
  let parent: Int32
  var frames: [Frame] = []
  private var failure: Failure?
  private var isReplaced = false
  let records = UnsafeMutableRawBufferPointer.allocate(byteCount: 32 << 10, alignment: 8)

  /// Removes the directory under `path`. Where it is gone already there is nothing to do.
  ///
  /// - Throws: `replaced` if something else than `identity` has the name; `cleanupFailed` if something could not be removed.
  ///   What could be removed is gone then.
  /// - Complexity: O(entries) system calls; memory for the names of subdirectories on the way down.
  static func remove(_ path: FilePath, _ identity: FileIdentity) throws(TemporaryFileError) {
    // One without a name, such as "/", is nobody's temporary directory.
    guard let name = path.lastComponent.map(EntryName.init) else { throw replaced(path) }
    let parent: Int32
    do throws(Errno) {
      let directory = path.removingLastComponent()
      let flags = spool_O_PATH | O_DIRECTORY | O_CLOEXEC
      parent = try retryingInterrupts {
        (directory.isEmpty ? "." : directory).withPlatformString { spool_openat(AT_FDCWD, $0, flags, 0) }
      }
    } catch .noSuchFileOrDirectory {
      return
    } catch {
      throw TemporaryFileError(.cleanupFailed, operation: "remove", path: path, errno: error)
    }
    var removal = TreeRemoval(path, parent: parent)
    try removal.run(name, identity)
  }

  static func replaced(_ path: FilePath, _ operation: String = "remove") -> TemporaryFileError {
    TemporaryFileError(
      .replaced, operation: operation, path: path, errno: .staleNFSFileHandle,
      message: "it is not the directory that was made under that name")
  }

  private init(_ root: FilePath, parent: Int32) {
    self.root = root
    self.parent = parent
  }

  deinit {
    for frame in frames where frame.file >= 0 { close(frame.file) }
    close(parent)
    records.deallocate()
  }

  private mutating func run(_ name: EntryName, _ identity: FileIdentity) throws(TemporaryFileError) {
    if removeEmpty(name, identity) { return }
    do throws(Errno) {
      let opened = try openDirectory(name, in: parent, expecting: identity)
      frames.append(Frame(name: name, identity: identity, file: opened.file))
    } catch .noSuchFileOrDirectory {
      return
    } catch .staleNFSFileHandle, .notDirectory, .tooManySymbolicLinkLevels, .improperLink {
      throw Self.replaced(root)
    } catch {
      fail(nil, error)
    }
    while let frame = frames.last {
      if !frame.pending.isEmpty {
        descend(into: frames[frames.count - 1].pending.removeLast())
      } else if frame.needsListing {
        list()
      } else {
        leave()
      }
    }
    if let failure { throw error(for: failure) }
    if isReplaced { throw Self.replaced(root) }
  }

  /// Removes the tree if it is empty, for which it need not be opened. Returns false if it is not, or anything else is amiss.
  private func removeEmpty(_ name: EntryName, _ identity: FileIdentity) -> Bool {
    guard let found = try? FileIdentity(ofEntry: name, in: parent), found == identity else { return false }
    return name.withPointer { unlinkat(parent, $0, AT_REMOVEDIR) } == 0
  }

  /// Counts what could not be removed: an entry of the last frame, or with nil that directory itself.
  mutating func fail(_ name: EntryName?, _ errno: Errno, _ reason: String? = nil) {
    if let name, !frames.isEmpty { frames[frames.count - 1].failed.insert(name) }
    guard failure == nil else {
      failure!.count += 1
      return
    }
    var path = root
    for frame in frames.dropFirst() { path.append(frame.name.component) }
    if let name { path.append(name.component) }
    failure = Failure(path: path, errno: errno, reason: reason ?? errno.description)
  }

  private func error(for failure: Failure) -> TemporaryFileError {
    let subject = failure.count == 1 ? "" : "\(failure.count) entries cannot be removed, first of all "
    return TemporaryFileError(
      .cleanupFailed, operation: "remove", path: root, errno: failure.errno,
      message: "\(subject)\(failure.path.string): \(failure.reason)")
  }
}

extension TreeRemoval {
  private mutating func descend(into name: EntryName) {
    let index = frames.count - 1
    do throws(Errno) {
      let opened = try openDirectory(name, in: frames[index].file)
      frames.append(Frame(name: name, identity: opened.identity, file: opened.file))
      closeFrame(index + 1 - Self.maximumOpen)
    } catch .noSuchFileOrDirectory, .notDirectory, .tooManySymbolicLinkLevels {
      // Gone, or something else by now, which another listing shows.
      frames[index].hasChanged = true
    } catch .improperLink {
      fail(name, .resourceBusy, "another filesystem is mounted there")
    } catch {
      // An empty one need not be opened to be removed.
      if name.withPointer({ unlinkat(frames[index].file, $0, AT_REMOVEDIR) }) == 0 {
        frames[index].hasChanged = true
      } else {
        fail(name, error)
      }
    }
  }

  /// Removes the last frame's directory, after it has been emptied, or has it listed again.
  private mutating func leave() {
    let index = frames.count - 1
    guard let above = parentDirectory(of: index) else { return unwind() }
    guard frames[index].failed.isEmpty else {
      if !listAgain() { pop(failed: true) }
      return
    }
    let name = frames[index].name
    let isSame = { (identity: FileIdentity) in (try? FileIdentity(ofEntry: name, in: above)) == identity }
    // In the tree, whatever empty directory has the name may go; the name of the tree may be somebody else's by now.
    if index == 0, !isSame(frames[0].identity) {
      if listAgain() { return }
      isReplaced = (try? FileIdentity(ofEntry: name, in: above)) != nil
      return pop(failed: false)
    }
    if name.withPointer({ unlinkat(above, $0, AT_REMOVEDIR) }) == 0 { return pop(failed: false) }
    switch currentErrno() {
    case .noSuchFileOrDirectory, .notDirectory:
      pop(failed: false)
    case .directoryNotEmpty where !isSame(frames[index].identity), .fileExists where !isSame(frames[index].identity):
      pop(failed: false)
    case .directoryNotEmpty where frames[index].passes < Self.maximumPasses,
      .fileExists where frames[index].passes < Self.maximumPasses:
      frames[index].needsListing = true
    case .directoryNotEmpty, .fileExists:
      fail(nil, .directoryNotEmpty, "it is being filled while it is removed")
      pop(failed: true)
    case let error:
      if listAgain() { return }
      fail(nil, error)
      pop(failed: true)
    }
  }

  /// Has the last frame listed once more, if something may be in it still: the first listing need not have come to its end.
  private mutating func listAgain() -> Bool {
    let index = frames.count - 1
    guard frames[index].hasChanged, frames[index].passes < Self.maximumPasses else { return false }
    frames[index].needsListing = true
    return true
  }

  private mutating func pop(failed: Bool) {
    let frame = frames.removeLast()
    close(frame.file)
    guard !frames.isEmpty else { return }
    if failed {
      frames[frames.count - 1].failed.insert(frame.name)
    } else {
      frames[frames.count - 1].hasChanged = true
    }
  }

  /// The open directory that a frame's is an entry of. nil if it has been moved to another.
  private mutating func parentDirectory(of index: Int) -> Int32? {
    guard index > 0 else { return parent }
    if frames[index - 1].file >= 0 { return frames[index - 1].file }
    guard let file = try? openDescriptor(O_RDONLY, .parent, in: frames[index].file) else { return nil }
    guard let identity = try? FileIdentity(of: file), identity == frames[index - 1].identity else {
      close(file)
      return nil
    }
    frames[index - 1].file = file
    return file
  }

  /// Goes back to the last directory that is still open, and looks at its entries anew.
  private mutating func unwind() {
    repeat {
      let frame = frames.removeLast()
      if frame.file >= 0 { close(frame.file) }
    } while frames[frames.count - 1].file < 0
    let index = frames.count - 1
    frames[index].hasChanged = true
    frames[index].pending = []
    if frames[index].passes < Self.maximumPasses {
      frames[index].needsListing = true
    } else {
      fail(nil, .resourceBusy, "it is being moved while it is removed")
      frames[index].failed.insert(.itself)
    }
  }

  private mutating func closeFrame(_ index: Int) {
    guard index > 0, frames[index].file >= 0 else { return }
    close(frames[index].file)
    frames[index].file = -1
  }

  /// Closes the directories that can be found again.
  mutating func closeFrames() {
    for index in frames.indices.dropLast() { closeFrame(index) }
  }
}
