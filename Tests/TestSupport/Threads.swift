import Glibc

/// Runs `body` in real threads, each with its number, and waits for all of them. Not tasks: the bodies block.
package func runThreads(_ count: Int, _ body: @escaping @Sendable (Int) -> Void) {
  final class Job: Sendable {
    let number: Int
    let body: @Sendable (Int) -> Void

    init(_ number: Int, _ body: @escaping @Sendable (Int) -> Void) {
      self.number = number
      self.body = body
    }
  }
  let start: @convention(c) (UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? = { argument in
    let job = Unmanaged<Job>.fromOpaque(argument!).takeRetainedValue()
    job.body(job.number)
    return nil
  }
  let threads = (0..<count).map { number in
    var thread = pthread_t()
    pthread_create(&thread, nil, start, Unmanaged.passRetained(Job(number, body)).toOpaque())
    return thread
  }
  for thread in threads { pthread_join(thread, nil) }
}
