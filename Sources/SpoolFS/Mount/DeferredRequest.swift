internal import SystemPackage

/// A request that is answered by the notifier's thread, after the kernel has written back what it holds: by WRITEs that the
/// request's own thread may have to take.
final class DeferredRequest {
  /// An answer goes the way its request came.
  private let worker: Worker
  private var reply: Reply?
  private var isAnswered = false
  /// Does the work, and returns what answers.
  private let body: () throws(Errno) -> (consuming Reply) -> Void

  init(_ reply: consuming Reply, to worker: Worker, _ body: @escaping () throws(Errno) -> (consuming Reply) -> Void) {
    self.reply = consume reply
    self.worker = worker
    self.body = body
  }

  /// Nobody hears it any more, but a reply must be sent through a worker. Not where it was answered: this may be the thread
  /// of another worker.
  deinit { if !isAnswered { worker.withThread { reply.take()?.error(.ioError) } } }

  func answer() {
    isAnswered = true
    do throws(Errno) {
      let answer = try body()
      worker.withThread { if let reply = reply.take() { answer(reply) } }
    } catch {
      worker.withThread { reply.take()?.error(error) }
    }
  }
}
