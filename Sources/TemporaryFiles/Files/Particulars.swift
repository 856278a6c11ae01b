internal import Glibc
internal import SystemPackage

/// What a handle has besides the bytes of a spooled file and a position in them.
///
/// Most spooled files have none of it. Where it is not in the handle, that is three words, which are returned in registers, and
/// cleared and looked through at the end in no time: a tenth of what a small file takes from beginning to end.
final class Particulars {
  // Exclusivity is unchecked as there is one owner, the handle, which cannot be copied.

  /// Where the bytes of a file are that is not spooled.
  enum Place: ~Copyable {
    case nowhere
    case descriptor(OwnedDescriptor)
    case backing(OwnedBacking)
  }

  /// What errors name; nil for a file without a name.
  let path: FilePath?
  let maximumSize: Int64
  @exclusivity(unchecked) var place: Place
  @exclusivity(unchecked) var buffer: FileBuffer?
  /// The descriptor whose offset is the position.
  @exclusivity(unchecked) var shared: CInt?

  /// Those of a spooled file.
  init(maximumSize: Int64 = .max) {
    path = nil
    self.maximumSize = maximumSize
    place = .nowhere
  }

  /// Those of bytes behind a descriptor, which is closed with this.
  init(descriptor: CInt, path: FilePath?, buffer: FileBuffer?, maximumSize: Int64?) {
    self.path = path
    self.maximumSize = maximumSize ?? .max
    place = .descriptor(OwnedDescriptor(number: descriptor))
    self.buffer = buffer
    if buffer == nil { shared = descriptor }
  }

  init(_ backing: any FileBacking, path: FilePath?, maximumSize: Int64?) {
    self.path = path
    self.maximumSize = maximumSize ?? .max
    place = .backing(OwnedBacking(backing: backing))
  }

  var isNowhere: Bool {
    switch place {
    case .nowhere: true
    default: false
    }
  }

  /// The descriptor that is closed with this, if there is one.
  var descriptor: CInt? {
    switch place {
    case .descriptor(let owned): owned.number
    default: nil
    }
  }

  var backing: (any FileBacking)? {
    switch place {
    case .backing(let owned): owned.backing
    default: nil
    }
  }

  /// Writes out what is pending, and forgets what was read ahead.
  func flush() throws(Errno) {
    guard let descriptor, let buffer else { return }
    // What could be written is not written again when the rest is tried a second time.
    while buffer.isDirty { buffer.didWrite(try Descriptor.writeSome(descriptor, buffer.pending, at: buffer.start)) }
    buffer.forget()
  }

  /// Closes whatever happens, and throws what went wrong first.
  func close(writing: Bool, removing: Bool) throws(Errno) {
    var failure: Errno?
    if writing { do throws(Errno) { try flush() } catch { failure = error } }
    var ended = Place.nowhere
    swap(&ended, &place)
    shared = nil
    buffer = nil
    do throws(Errno) {
      switch consume ended {
      case .descriptor(let file): try file.close()
      case .backing(let owned): try owned.backing.close(removing: removing)
      case .nowhere: break
      }
    } catch {
      failure = failure ?? error
    }
    if let failure { throw failure }
  }
}

/// A descriptor that is closed when it is dropped; quietly: what the owner wants to hear of failures, it closes first.
struct OwnedDescriptor: ~Copyable {
  let number: CInt

  deinit { try? Descriptor.close(number) }

  consuming func close() throws(Errno) {
    let number = number
    discard self
    try Descriptor.close(number)
  }
}

/// A file that lives elsewhere, and is gone from there when this is dropped, unless it has been closed.
struct OwnedBacking: ~Copyable {
  let backing: any FileBacking

  deinit { try? backing.close(removing: true) }
}
