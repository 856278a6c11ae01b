// Spooled files are configured with `SpoolStore` and `SpoolConfiguration`: who imports TemporaryFiles has them.
@_exported public import SpoolStorage
