import Testing

/// All suites that mount, one test at a time: they share the machine's two cores with the servers of their mounts.
@Suite(.serialized) enum MountSuites {}
