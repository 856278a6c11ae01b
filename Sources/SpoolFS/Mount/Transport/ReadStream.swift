/// Tells from the READs of a queue whether the kernel reads ahead of a program, which waits for few of them then.
struct ReadStream {
  /// Bytes. What programs read at random is less, most often, and they wait for it.
  static let leastRead = 256 << 10
  /// How many READs one may overtake, as several threads serve them.
  private static let disorder = 4

  private var file: UInt64 = 0
  private var end: Int64 = 0
  /// Bytes before `end` that are yet to come, as others were faster.
  private var missing: Int64 = 0

  /// Takes one READ in.
  ///
  /// - Returns: whether it goes on where those before it have ended, or is one of them that comes late.
  mutating func goesOn(with read: RingEntry.Read) -> Bool {
    let count = Int64(read.count)
    let distance = read.offset &- end
    if read.file == file, distance >= 0, distance <= Int64(Self.disorder) * count {
      missing &+= distance
      end = read.offset &+ count
      return true
    }
    if read.file == file, distance < 0, distance >= -Int64(Self.disorder) * count, missing >= count {
      missing -= count
      return true
    }
    file = read.file
    end = read.offset &+ count
    missing = 0
    return false
  }
}
