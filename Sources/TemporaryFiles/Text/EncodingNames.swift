/// Names of encodings, as Python and IANA have them, and as iconv wants them.
enum EncodingNames {
  /// What makes two names equal: letters and digits.
  static func key(_ name: String) -> String {
    String(name.lowercased().unicodeScalars.filter { $0.isASCII && $0.properties.isAlphanumeric })
  }

  /// Whether this may be a name at all. iconv takes what follows a slash for options, and an empty name for the encoding
  /// of the locale.
  static func isName(_ name: String) -> Bool {
    name.utf8.allSatisfy { (0x21..<0x7f).contains($0) && $0 != UInt8(ascii: "/") } && !key(name).isEmpty
  }

  /// Encodings that are not left to iconv.
  static let builtIn: [String: String] = table([
    "utf-8": "utf8 u8 utf cp65001 utf8ucs2 utf8ucs4", "utf-8-sig": "utf8sig",
    "utf-16": "utf16 u16", "utf-16-le": "utf16le unicodelittleunmarked", "utf-16-be": "utf16be unicodebigunmarked",
    "utf-32": "utf32 u32", "utf-32-le": "utf32le", "utf-32-be": "utf32be",
    "latin-1": "latin1 latin l1 iso88591 iso885911987 8859 cp819 ibm819 csisolatin1 isoir100",
    "ascii": "ascii usascii us 646 iso646us iso646irv1991 ansix341968 ansix341986 cp367 ibm367 csascii isoir6",
  ])

  /// Python's names that iconv does not know by itself.
  private static let iconv: [String: String] = table([
    "CP932": "windows31j mskanji ms932 932", "CP949": "949 ms949 ksc56011987ext", "CP950": "950 ms950",
    "CP936": "936 ms936", "GB2312": "chinese csiso58gb231280 gb23121980 gb231280 isoir58",
    "EUC-KR": "korean ksc5601 ksc56011987 ksx1001 euckr", "EUC-JP": "eucjp ujis", "BIG5": "big5tw csbig5",
    "BIG5-HKSCS": "big5hkscs hkscs", "SHIFT_JIS": "shiftjis sjis csshiftjis", "JOHAB": "cp1361 ms1361",
    "EUC-JISX0213": "eucjis2004 jisx0213 eucjisx0213",
    "SHIFT_JISX0213": "shiftjis2004 shiftjisx0213 sjis2004 sjisx0213",
    "GB18030": "gb180302000", "GBK": "cp936gbk", "KOI8-R": "cskoi8r", "MACINTOSH": "macroman",
    "MAC-CYRILLIC": "maccyrillic", "MAC-CENTRALEUROPE": "maclatin2 maccentraleurope",
    "PT154": "ptcp154 csptcp154 cp154",
    "RK1048": "kz1048 strk10482002", "HP-ROMAN8": "hproman8 roman8 r8", "CP037": "037 ebcdiccpus ebcdiccpnl",
    "CP1140": "1140 ibm1140", "UTF-7": "utf7 u7 unicode11utf7", "TIS-620": "tis620 thai iso885911 iso8859112001",
  ])

  /// Encodings of several bytes in which every character begins anew, whatever came before.
  static let stateless: Set<String> = [
    "SHIFT_JIS", "CP932", "EUC-JP", "EUC-KR", "CP949", "JOHAB", "GB2312", "GBK", "CP936", "GB18030", "BIG5", "CP950",
    "EUC-TW", "EUC-CN", "UHC",
  ]

  /// What iconv may call the encoding, best first.
  static func candidates(for name: String) -> [String] {
    let key = key(name)
    if let known = iconv[key] { return [known] }
    let upper = name.uppercased()
    let dashed = String(upper.map { $0 == "_" || $0 == "." ? "-" : $0 })
    var all = [upper, dashed, key.uppercased()]
    for (prefix, standard) in [
      ("iso8859", "ISO-8859-"), ("iso2022", "ISO-2022-"), ("latin", "LATIN-"), ("mac", "MAC-"),
    ]
    where key.hasPrefix(prefix) {
      all.append(standard + key.dropFirst(prefix.count).uppercased())
    }
    if key.hasPrefix("iso2022jp"), key.count > 9 { all.append("ISO-2022-JP-" + key.dropFirst(9).uppercased()) }
    if key.hasPrefix("koi8") { all.append("KOI8-" + key.dropFirst(4).uppercased()) }
    for prefix in ["windows", "cp", "ibm", "ms", ""] where key.hasPrefix(prefix) {
      let number = key.dropFirst(prefix.count)
      if !number.isEmpty, number.utf8.allSatisfy({ (0x30...0x39).contains($0) }) { all.append("CP" + number) }
    }
    return all
  }

  private static func table(_ lists: KeyValuePairs<String, String>) -> [String: String] {
    var table: [String: String] = [:]
    for (name, aliases) in lists {
      for alias in aliases.split(separator: " ") { table[String(alias)] = name }
      table[key(name)] = name
    }
    return table
  }
}

extension Unicode.Scalar.Properties {
  fileprivate var isAlphanumeric: Bool { isAlphabetic || numericType != nil }
}
