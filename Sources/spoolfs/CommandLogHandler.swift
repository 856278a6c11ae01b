internal import CSpoolSystem
internal import Glibc
internal import Logging
internal import SpoolFS

/// Writes to stderr as the command does, or to syslog(3), which the journal keeps: a process in the background has no
/// other way to tell anything.
struct CommandLogHandler: LogHandler {
  let usesSystemLog: Bool
  var logLevel: Logger.Level
  var metadata: Logger.Metadata = [:]

  init(usesSystemLog: Bool) {
    self.usesSystemLog = usesSystemLog
    // The system's log has levels of its own to choose from.
    logLevel = usesSystemLog ? .debug : .info
  }

  subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  func log(event: LogEvent) {
    guard usesSystemLog else { return Terminal.note("\(event.message)") }
    let priority =
      switch event.level {
      case .trace, .debug: LOG_DEBUG
      case .info: LOG_INFO
      case .notice: LOG_NOTICE
      case .warning: LOG_WARNING
      case .error: LOG_ERR
      case .critical: LOG_CRIT
      }
    spool_syslog(LOG_DAEMON | priority, "spoolfs: \(TerminalText.sanitize("\(event.message)"))")
  }
}
