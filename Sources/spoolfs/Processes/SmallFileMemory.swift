internal import CSpoolSystem
internal import Glibc

/// How malloc(3), where the data of small files is, gets memory from the system in a process that serves.
///
/// By default each thread has an arena of its own, which grows by what is asked for: one mprotect(2) for each small file,
/// and the data of a few threads in as many places. Here few share one, and the first, on most machines the only one, grows
/// by megabytes.
enum SmallFileMemory {
  /// So many share an arena, whose lock a thread holds for about a hundredth of a request's time.
  private static let processorsPerArena: Int32 = 8
  /// Bytes by which the first arena grows: address space, until it is used.
  private static let growth: Int32 = 8 << 20
  /// Bytes at its end above which what is free goes back at once. The store gives back what the data of files leaves; less
  /// than this may stay of what else the tree took.
  private static let surplus: Int32 = 32 << 20
  /// Bytes above which a block is mapped by itself.
  private static let largestBlock: Int32 = 1 << 20

  /// To be called before there are threads.
  static func prepare() {
    mallopt(M_ARENA_MAX, max(1, Int32(sysconf(Int32(_SC_NPROCESSORS_ONLN))) / processorsPerArena))
    mallopt(M_TOP_PAD, growth)
    mallopt(M_TRIM_THRESHOLD, surplus)
    mallopt(M_MMAP_THRESHOLD, largestBlock)
  }
}
