// A tree is configured with `SpoolConfiguration`, and makes the temporary files of `TemporaryFiles`: who imports SpoolFS has
// both.
@_exported public import SpoolStorage
@_exported public import TemporaryFiles
