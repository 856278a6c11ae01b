// A tree is configured with `SpoolConfiguration`: who imports SpoolFS has it.
@_exported public import SpoolStorage
