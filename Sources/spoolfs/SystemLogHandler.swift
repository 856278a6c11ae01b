internal import CSpoolSystem
internal import Glibc
internal import Logging

/// Writes to syslog(3), which the journal keeps: a process in the background has no other way to tell anything.
struct SystemLogHandler: LogHandler {
  var logLevel = Logger.Level.info
  var metadata: Logger.Metadata = [:]

  init(label: String) {}

  subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  func log(event: LogEvent) {
    let priority =
      switch event.level {
      case .trace, .debug: LOG_DEBUG
      case .info: LOG_INFO
      case .notice: LOG_NOTICE
      case .warning: LOG_WARNING
      case .error: LOG_ERR
      case .critical: LOG_CRIT
      }
    spool_syslog(LOG_DAEMON | priority, "spoolfs: \(event.message)")
  }
}
