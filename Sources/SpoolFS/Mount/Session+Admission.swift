internal import CFuse
internal import CSpoolSystem
internal import Glibc
import SpoolStorage
internal import SystemPackage

// The question before a write(2): see `SpaceWatch`.

extension Session {
  /// Whether a GETATTR may be the question before a write(2): it comes through a descriptor. So do lseek(2) to the end and a
  /// read(2) past it.
  @inline(__always)
  func asksForWrite(_ message: Message, _ inode: Inode) -> Bool {
    guard space.watchesWrites, inode.kind == .regular, !inode.isSnapshot else { return false }
    guard let arguments = try? message.argument(fuse_getattr_in.self) else { return false }
    return arguments.getattr_flags & UInt32(FUSE_GETATTR_FH) != 0
  }

  /// Answers such a GETATTR: with attributes, or ENOSPC where the write(2) does not fit.
  func serveQuestion(_ reply: consuming Reply, _ request: Request, _ inode: Inode, from thread: UInt32) {
    let caller = CallerProcess(thread: thread)
    let intent = caller.intent
    if intent == .none || intent == .pageFault { return reply.attributes(of: inode, request.session) }
    if let error = files.takeUntoldRefusal(of: inode) { return reply.error(error) }
    guard space.asksBeforeWrites else { return reply.attributes(of: inode, request.session) }
    space.lookAgain()
    do throws(Errno) {
      if let question = try question(intent, caller, inode), space.admission(of: question) != .admitted {
        // What the kernel holds must be written back first, by requests that this thread may have to take.
        try request.worker.willAnswerLater()
      } else if !intent.isVector {
        return reply.attributes(of: inode, request.session)
      } else {
        try request.worker.willAnswerLater()
      }
    } catch {
      return reply.error(error)
    }
    notifier.answerLater(
      DeferredRequest(reply, to: request.worker) { () throws(Errno) in
        try self.decide(intent, caller, inode)
        return { $0.attributes(of: inode, self) }
      })
  }

  /// What the system call is about to write to the file.
  ///
  /// - Returns: nil where that is nothing, or not known on a thread that requests wait for (`isVector`).
  /// - Throws: EFBIG where no file is that large.
  fileprivate func question(
    _ intent: CallerIntent, _ caller: CallerProcess, _ inode: Inode, vectorSize: Int64? = nil
  ) throws(Errno) -> SpaceWatch.Question? {
    var extent: (offset: Int64?, count: Int64?, descriptor: Int32?)
    switch intent {
    case .none, .pageFault: return nil
    case .write(let descriptor, let count, let offset): extent = (offset, count, descriptor)
    case .vector(let descriptor, _, _, let offset):
      guard let vectorSize else { return nil }
      extent = (offset, vectorSize, descriptor)
    case .transfer(let source, let target, let count):
      if caller.descriptor(source)?.inode == inode.id, caller.descriptor(target)?.inode != inode.id { return nil }
      extent = (nil, count, target)
    case .unknown, .running:
      if !caller.mayWrite(to: inode.id) { return nil }
      extent = (nil, nil, nil)
    }
    let content = try files.makeContent(of: inode)
    let descriptor = extent.descriptor.flatMap { caller.descriptor($0) }
    // It goes past the cache, and hears of its own error.
    if descriptor?.isDirect == true { return nil }
    let end = space.end(of: inode, content)
    var offset = extent.offset ?? end
    if let descriptor {
      if descriptor.appends {
        offset = end
      } else if extent.offset == nil, !intent.isTransfer {
        offset = descriptor.position
      }
    }
    // The kernel takes at most MAX_RW_COUNT at a time.
    let count = min(extent.count ?? 1, Int64(Int32.max & ~4095))
    let (upper, overflows) = max(0, offset).addingReportingOverflow(count)
    if overflows || upper > FileContent.maximumSize { throw .fileTooLarge }
    return SpaceWatch.Question(
      inode: inode, content: content, thread: caller.thread, bytes: max(0, offset)..<upper,
      isOpenEnded: extent.count == nil)
  }

  /// Runs `body`, which takes space for these bytes of a file, and answers with what it returns: at once, or where the space may
  /// be spoken for, when the kernel has written back what it holds.
  func serveTakingSpace(
    _ reply: consuming Reply, _ request: Request, _ inode: Inode, _ bytes: Range<Int64>,
    _ body: @escaping () throws(Errno) -> (consuming Reply) -> Void
  ) {
    do throws(Errno) {
      guard !bytes.isEmpty, space.asksBeforeWrites, try !space.fits(bytes, of: inode, files.makeContent(of: inode))
      else {
        let answer = try body()
        spaceWasTaken()
        return answer(reply)
      }
      try request.worker.willAnswerLater()
    } catch {
      return reply.error(error)
    }
    let thread = UInt32(bitPattern: request.caller.process)
    notifier.answerLater(
      DeferredRequest(reply, to: request.worker) { () throws(Errno) in
        self.writeBack(askedBy: thread)
        return try body()
      })
  }

  /// A WRITE that does not come from the kernel's cache must leave what is reserved for others.
  ///
  /// - Throws: ENOSPC.
  func checkReservations(_ bytes: Range<Int64>, of inode: Inode) throws(Errno) {
    if try space.fits(bytes, of: inode, files.makeContent(of: inode)) { return }
    // Its data cannot wait. The next one finds what was reserved for too long.
    notifier.announceLater(.writeBack)
    throw .noSpace
  }

  /// Decides on a write(2) that may not fit, after the kernel has written back what it holds.
  ///
  /// - Throws: ENOSPC, EFBIG.
  fileprivate func decide(_ intent: CallerIntent, _ caller: CallerProcess, _ inode: Inode) throws(Errno) {
    var size: Int64?
    var intent = intent
    if case .vector(_, let address, let parts, _) = intent {
      size = caller.size(ofVector: address, parts: parts)
      if size == nil { intent = .unknown }
    }
    try files.waitingForReclaim(for: inode) { () throws(Errno) in
      for _ in 0..<Self.mostWriteBacks {
        guard let question = try question(intent, caller, inode, vectorSize: size) else { return }
        switch space.admission(of: question) {
        case .admitted: return
        case .refused: throw .noSpace
        case .undecided: writeBack(askedBy: caller.thread)
        }
      }
      throw .noSpace
    }
  }

  /// A READ where space is short. One that a page fault causes on a hole stands for a store to the mapping, which is sent later:
  /// a fault for reading looks the same, and allocates pages on tmpfs as well.
  ///
  /// - Throws: EIO, which the program gets as SIGBUS, where a store would find no space.
  func checkFault(_ request: Request, _ inode: Inode, _ arguments: fuse_read_in, from thread: UInt32) throws(Errno) {
    guard inode.kind == .regular, !inode.isSnapshot, let content = inode.existingContent else { return }
    let offset = Int64(bitPattern: arguments.offset)
    let asked = Self.range(offset, Int64(arguments.size))
    let end = min(asked.upperBound, max(content.size, space.end(of: inode, content)))
    guard offset >= 0, offset < end, space.takesSpace(offset..<end, of: inode.id, content) else { return }
    let caller = CallerProcess(thread: thread)
    let isReadahead = Int(arguments.size) > Int(getpagesize())
    let intent = isReadahead ? caller.intentNow : caller.intent
    // Nobody waits for what is read ahead of a thread that runs. Without it the kernel reads the pages one by one.
    if isReadahead, intent == .running { throw .ioError }
    guard intent == .pageFault else { return }
    let question = SpaceWatch.Question(
      inode: inode, content: content, thread: thread, bytes: offset..<end, isFault: true)
    if space.admission(of: question) == .admitted { return }
    // Pages that were only read, or have gone, count as well until then.
    notifier.announceLater(.writeBack)
    throw .ioError
  }

  /// How often the kernel is made to write back for one write(2): others go on writing meanwhile.
  private static let mostWriteBacks = 3

  /// Makes the kernel write back what has been reserved for it. On the notifier's thread: the WRITEs need the others.
  func writeBack(askedBy thread: UInt32 = 0) {
    let writeBack = space.writeBack(askedBy: thread)
    if writeBack.isOfAllFiles {
      for id in files.table.regularFiles() { notifier.contentsChanged(of: id, at: 0, count: 0) }
    } else {
      for part in writeBack.parts where part.bytes?.isEmpty != true {
        notifier.contentsChanged(
          of: part.inode, at: part.bytes?.lowerBound ?? 0, count: Int64(part.bytes?.count ?? 0))
      }
    }
    space.wroteBack(writeBack)
  }

  // MARK: - Space that has got short, and WRITEs that were refused

  /// Looks whether space has got short. Called after a request that may have taken some.
  @inline(__always)
  func spaceWasTaken() {
    if space.becameShort() { notifier.announceLater(.attributesOfAll) }
  }

  /// Notes that bytes of the kernel's cache are lost, before the kernel hears of it.
  func refuse(_ bytes: Range<Int64>, of inode: Inode, because error: Errno) {
    files.refused(bytes, of: inode, because: error)
    space.noteRefusal()
    // Before the answer, so that the next write(2) asks: attributes alone, for which the kernel takes no lock.
    notifier.attributesChanged(of: inode.id)
    // After it: the kernel waits for the answer before it drops the pages.
    notifier.announceLater(.lost(bytes, of: inode.id))
  }
}

extension CallerIntent {
  fileprivate var isVector: Bool { if case .vector = self { true } else { false } }
  fileprivate var isTransfer: Bool { if case .transfer = self { true } else { false } }
}
