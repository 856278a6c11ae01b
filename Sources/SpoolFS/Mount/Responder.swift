package import SystemPackage

/// Answers the kernel's requests in place of the tree. What a transport costs by itself is measured with one that does nothing.
package protocol Responder: AnyObject, Sendable {
  /// - Returns: nil where libfuse and the tree are to answer.
  func answer(to message: Message) -> Answer?
}

/// What follows the header of an answer, or what stands in its place.
package enum Answer {
  /// None is expected.
  case silence
  case error(Errno)
  case success
  case bytes(UnsafeRawBufferPointer)
}

extension Session {
  /// - Returns: whether the message has been answered.
  func answerWithResponder(_ message: Message) -> Bool {
    guard let responder, let answer = responder.answer(to: message) else { return false }
    let reply = message.reply
    switch answer {
    case .silence: reply.none()
    case .error(let error): reply.error(error)
    case .success: reply.success()
    case .bytes(let bytes): reply.bytes(bytes)
    }
    return true
  }
}
