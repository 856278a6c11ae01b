/// Random names for temporary files: what Python's `tempfile._RandomNameSequence` makes.
public enum TemporaryName {
  /// How many names are tried before giving up. Python's `tempfile.TMP_MAX` is 10,000 too.
  public static let maximumAttempts = 10_000

  /// 36 characters: lower case, since the directory may be on a filesystem that folds case.
  package static let alphabet = Array("abcdefghijklmnopqrstuvwxyz0123456789".utf8)

  /// A name of `length` random characters of `[a-z0-9]`, from the system's random source. It needs no state, so a
  /// forked child does not repeat its parent's names.
  ///
  /// - Complexity: O(`length`).
  public static func random(length: Int = 12) -> String {
    var source = SystemRandomNumberGenerator()
    return String(decoding: (0..<length).map { _ in alphabet.randomElement(using: &source)! }, as: UTF8.self)
  }
}
