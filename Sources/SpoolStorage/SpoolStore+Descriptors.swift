internal import Synchronization
internal import SystemPackage

extension SpoolStore {
  /// Has files on disk leave that many of the descriptors that the process may have (RLIMIT_NOFILE) to whatever else needs
  /// them: a mount that has none left cannot be taken away, for example.
  ///
  /// A file that cannot go to disk for want of a descriptor is then out of space (ENOSPC): its writer is a program that
  /// knows nothing of this process's descriptors. With 0, the default, the error is EMFILE or ENFILE.
  package func reserveDescriptors(_ count: Int) { reservedDescriptors.store(count, ordering: .relaxed) }

  /// Preconditions: the file's `writerLock` held.
  func makeSpillFile(in directory: SpillDirectory, for file: FileContent) throws(Errno) -> SpillFile {
    let reserved = reservedDescriptors.load(ordering: .relaxed)
    do throws(Errno) {
      return try closer.retrying { () throws(Errno) in
        let made = try directory.makeFile(for: self)
        if reserved > 0, DescriptorLimit.isAmongLast(reserved, made.file) { throw .tooManyOpenFiles }
        return made
      }
    } catch {
      guard reserved > 0, error == .tooManyOpenFiles || error == .tooManyOpenFilesInSystem else { throw error }
      if !toldOfDescriptors.exchange(true, ordering: .relaxed) {
        refusalObserver.observer?(ObjectIdentifier(file), error)
      }
      throw .noSpace
    }
  }
}
