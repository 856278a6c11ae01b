import CHostCalls
import Foundation
import SystemPackage
import Testing

@testable import SpoolFS

extension MountSuites {
  @Suite(.serialized) struct SpecialFileTests {
    @Test(arguments: cacheModes) func fifo(_ cache: MountOptions.Cache) async throws {
      let tree = try await onThread { try MountedTree(options: .init(cache: cache)) }
      #expect(mkfifo(tree("pipe"), 0o600) == 0)
      try await onThreads(2) { index in
        if index == 0 {
          try HostFile(tree("pipe"), O_WRONLY).append(pattern(1000))
        } else {
          let file = try HostFile(tree("pipe"), O_RDONLY)
          var bytes: [UInt8] = []
          var part = [UInt8](repeating: 0, count: 4096)
          while case let count = read(file.descriptor, &part, part.count), count > 0 { bytes += part[..<count] }
          #expect(bytes == pattern(1000))
        }
      }
      try await onThread {
        let status = try Host.status(tree("pipe"))
        #expect(status.mode & 0o170000 == 0o010000)
        tree.end()
      }
    }

    @Test func unixSocket() async throws {
      try await withMount { tree in
        let program = """
          import os, socket, stat, sys
          path = sys.argv[1]
          server = socket.socket(socket.AF_UNIX); server.bind(path); server.listen()
          client = socket.socket(socket.AF_UNIX); client.connect(path)
          peer, _ = server.accept()
          client.send(b'over the socket'); print(peer.recv(100).decode())
          print(stat.S_ISSOCK(os.stat(path).st_mode))
          os.unlink(path)
          """
        let answer = try python(program, tree("socket"))
        #expect(answer == "over the socket\nTrue")
      }
    }

    @Test func deviceNode() async throws {
      guard geteuid() == 0 else { return }
      try await withMount(options: .init(flags: [.noSetUserID])) { tree in
        // /dev/zero
        try check(host_make_node(tree("zero"), 0o020000 | 0o600, 0x105))
        #expect(try HostFile(tree("zero"), O_RDONLY).read(3) == [0, 0, 0])
        // Major 259, minor 70000, as makedev(3) packs them.
        let high: UInt64 = 259 << 8 | 70000 & 0xff | (70000 & ~0xff) << 12
        try check(host_make_node(tree("high"), 0o060000 | 0o600, high))
        var status = stat()
        #expect(stat(tree("high"), &status) == 0 && UInt64(status.st_rdev) == high)
      }
      try await withMount { tree in
        try check(host_make_node(tree("zero"), 0o020000 | 0o600, 0x105))
        #expect(failure { _ = try HostFile(tree("zero"), O_RDONLY) } == .permissionDenied)
      }
    }

    // MARK: - Locks, which the kernel keeps without asking

    @Test(arguments: cacheModes) func recordLocks(_ cache: MountOptions.Cache) async throws {
      try await withMount(options: .init(cache: cache)) { tree in
        try Host.create(tree("a"), [1])
        let file = try HostFile(tree("a"))
        var lock = Glibc.flock()
        lock.l_type = Int16(F_WRLCK)
        lock.l_whence = Int16(SEEK_SET)
        lock.l_len = 10
        #expect(fcntl(file.descriptor, F_SETLK, &lock) == 0)
        let program = """
          import fcntl, sys
          file = open(sys.argv[1], 'r+')
          def tried(length, start):
              try:
                  fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, length, start)
                  return 'taken'
              except OSError: return 'refused'
          print(tried(5, 0), tried(5, 10))
          """
        #expect(try python(program, tree("a")) == "refused taken")
        lock.l_type = Int16(F_UNLCK)
        #expect(fcntl(file.descriptor, F_SETLK, &lock) == 0)
        #expect(try python(program, tree("a")) == "taken taken")
      }
    }

    @Test(arguments: cacheModes) func wholeFileLocks(_ cache: MountOptions.Cache) async throws {
      try await withMount(options: .init(cache: cache)) { tree in
        try Host.create(tree("a"), [1])
        let program = """
          import fcntl, sys
          file = open(sys.argv[1], 'r+')
          try:
              fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB); print('taken')
          except OSError: print('refused')
          """
        var file: HostFile? = try HostFile(tree("a"))
        #expect(flock(file!.descriptor, LOCK_EX) == 0)
        #expect(try python(program, tree("a")) == "refused")
        // Closing lets go.
        file = nil
        #expect(try python(program, tree("a")) == "taken")
      }
    }

    // MARK: - Extended attributes

    @Test func extendedAttributes() async throws {
      let program = """
        import os, sys, errno
        path = sys.argv[1]
        def error(call, *arguments):
            try: call(*arguments)
            except OSError as failure: return errno.errorcode[failure.errno]
        os.setxattr(path, 'user.one', b'1' * 1000)
        os.setxattr(path, 'user.empty', b'')
        print(sorted(os.listxattr(path)), len(os.getxattr(path, 'user.one')), os.getxattr(path, 'user.empty'))
        print(error(os.setxattr, path, 'user.one', b'', os.XATTR_CREATE), error(os.getxattr, path, 'user.none'))
        os.removexattr(path, 'user.one')
        print(os.listxattr(path))
        """
      try await withMount(.init(extendedAttributes: true)) { tree in
        try Host.create(tree("a"))
        #expect(
          try python(program, tree("a")) == """
            ['user.empty', 'user.one'] 1000 b''
            EEXIST ENODATA
            ['user.empty']
            """)
      }
      try await withMount { tree in
        try Host.create(tree("a"))
        #expect(try python(program, tree("a")).contains("Errno 95"))
      }
    }

    /// With extended attributes the kernel leaves it to the tree to take privileges away from a file that is changed.
    @Test(arguments: [false, true]) func changeByAnotherUserTakesPrivilegesAway(_ extendedAttributes: Bool) async throws
    {
      guard geteuid() == 0 else { return }
      let program = """
        import os, sys
        how, path = sys.argv[1:]
        os.setgroups([]); os.setgid(1234); os.setuid(1234)
        if how == 'write':
            with open(path, 'r+') as file: file.write('x')
        else: os.truncate(path, 1)
        """
      for how in ["write", "truncate"] {
        for cache in cacheModes {
          let configuration = FileSystem.Configuration(
            rootMode: [
              .ownerReadWriteExecute, .groupReadExecute, .otherReadExecute,
            ], extendedAttributes: extendedAttributes)
          try await withMount(configuration, options: .init(cache: cache, allowOther: true)) { tree in
            try Host.create(tree("a"), [1, 2, 3])
            try Host.changeMode(tree("a"), 0o6777)
            #expect(try python(program, how, tree("a")) == "")
            #expect(try Host.status(tree("a")).mode & 0o7777 == 0o777, "\(how) \(cache)")
          }
        }
      }
    }

    @Test(arguments: cacheModes) func aStrangerTakesNoPrivilegesAway(_ cache: MountOptions.Cache) async throws {
      guard geteuid() == 0 else { return }
      let program = """
        import os, sys
        os.setgroups([]); os.setgid(1234); os.setuid(1234)
        try: os.chown(sys.argv[1], -1, -1)
        except PermissionError: pass
        """
      let configuration = FileSystem.Configuration(rootMode: [.ownerReadWriteExecute, .otherReadExecute])
      try await withMount(configuration, options: .init(cache: cache, allowOther: true)) { tree in
        try Host.create(tree("a"), [1])
        try Host.changeMode(tree("a"), 0o6755)
        #expect(try python(program, tree("a")) == "")
        #expect(try Host.status(tree("a")).mode & 0o7777 == 0o6755)
      }
    }

    /// Each change of a file's bytes or owner, by root and by another user, for several modes: what tmpfs leaves of the mode.
    @Test(arguments: cacheModes, [0, 1234]) func changesLeaveThePrivilegesThatTmpfsLeaves(
      _ cache: MountOptions.Cache, by user: Int
    ) async throws {
      guard geteuid() == 0 else { return }
      let program = """
        import ctypes, os, sys
        user, directory = int(sys.argv[1]), sys.argv[2]
        os.chdir(directory)
        if user: os.setgroups([]); os.setgid(user); os.setuid(user)
        libc, size = ctypes.CDLL(None), ctypes.c_long
        source = os.open('source', os.O_CREAT | os.O_RDWR)
        os.write(source, b'z' * 5000)
        changes = {
            'write': lambda file: os.pwrite(file, b'y', 0),
            'append': lambda file: os.pwrite(file, b'y', 10_000),
            'ftruncate': lambda file: os.ftruncate(file, 5),
            'truncate': lambda file: os.truncate('file', 5),
            'O_TRUNC': lambda file: os.close(os.open('file', os.O_WRONLY | os.O_TRUNC)),
            'chown': lambda file: os.fchown(file, os.getuid(), os.getgid()),
            'chown to nobody else': lambda file: os.fchown(file, -1, -1),
            'fallocate': lambda file: libc.fallocate(file, 0, size(0), size(20_000)),
            'punch': lambda file: libc.fallocate(file, 3, size(0), size(4096)),
            'copy_file_range': lambda file: os.copy_file_range(source, file, 100, 0, 0),
            'utimes': lambda file: os.utime('file'),
        }
        for name, change in changes.items():
            for mode in (0o6755, 0o6711, 0o2644, 0o4600, 0o6777):
                file = os.open('file', os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
                os.write(file, b'x' * 10_000)
                os.fchmod(file, mode)
                change(file)
                print(name, oct(mode), oct(os.fstat(file).st_mode), oct(os.stat('file').st_mode))
                os.close(file)
                os.unlink('file')
        os.unlink('source')
        """
      let configuration = FileSystem.Configuration(rootMode: [.ownerReadWriteExecute, .otherReadExecute])
      try await withMount(configuration, options: .init(cache: cache, allowOther: true)) { tree in
        let reference = "/dev/shm/spoolfs-privileges-\(getpid())-\(cache)-\(user)"
        defer { rmdir(reference) }
        for directory in [reference, tree("d")] {
          try Host.makeDirectory(directory)
          try Host.changeMode(directory, 0o777)
        }
        let wanted = try python(program, "\(user)", reference)
        #expect(wanted.hasSuffix("utimes 0o6777 0o106777 0o106777"))
        #expect(try python(program, "\(user)", tree("d")) == wanted)
      }
    }
  }
}
