// A private, throw-away filesystem: `Tree/` holds inodes and directories, `Mount/` is their bridge to the kernel.
internal import CFuse
