internal import Glibc

exit(SpoolCommand.start())
