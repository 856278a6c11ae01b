import Foundation
import SystemPackage

@testable import SpoolFS

extension MountedTree {
  /// Has the kernel forget what the root's entry `name` names, so that it has to ask for its attributes.
  ///
  /// What is still open, or has another name that the kernel knows, stays known.
  func kernelForgets(_ name: String) {
    Array(name.utf8).withUnsafeBytes { mount.session.notifier.entryChanged($0, in: FileSystem.rootID) }
  }
}
