/// Tells from the READs of a queue whether the kernel reads ahead of a program, which waits for few of them then.
struct ReadStream {
  /// Bytes. What programs read at random is less, most often, and they wait for it.
  static let leastRead = 256 << 10
  /// How many READs may overtake each other, as several threads serve them.
  private static let disorder = 4

  private var file: UInt64 = 0
  private var end: Int64 = 0

  /// Takes one READ in.
  ///
  /// - Returns: whether it goes on where those before it have ended.
  mutating func takes(_ read: RingEntry.Read) -> Bool {
    let tolerance = UInt64(Self.disorder * read.count)
    let goesOn = read.file == file && (read.offset &- end).magnitude <= tolerance
    let newEnd = read.offset &+ Int64(read.count)
    end = goesOn ? max(end, newEnd) : newEnd
    file = read.file
    return goesOn
  }
}
