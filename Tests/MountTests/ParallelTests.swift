import CHostCalls
import Foundation
import SystemPackage
import Testing

@testable import SpoolFS

extension MountSuites {
  @Suite(.serialized, .kernelRing) struct ParallelTests {
    /// Clients that each check their own files, while the files roll over to disk.
    @Test(arguments: Way.all) func clientsWithFilesOfTheirOwn(_ way: Way) async throws {
      let tree = try await onThread { try MountedTree(smallThreshold, options: way.options) }
      try await onThreads(24) { index in
        for round in 0..<8 {
          let path = tree("c\(index)-\(round)")
          let data = pattern(1000 + index * 7000, seed: index * 100 + round)
          try Host.create(path, data)
          #expect(try Host.contents(path) == data)
          try Host.rename(path, path + ".new")
          #expect(try Host.status(path + ".new").size == Int64(data.count))
          if round % 2 == 0 { try Host.unlink(path + ".new") }
        }
      }
      try await onThread {
        let names = try Host.names(tree.path)
        #expect(names.count == 24 * 4)
        tree.end()
      }
    }

    @Test(arguments: Way.all) func clientsInOneFile(_ way: Way) async throws {
      let tree = try await onThread { try MountedTree(smallThreshold, options: way.options) }
      let part = 20_000
      try await onThreads(16) { index in
        let file = try HostFile(tree("shared"), O_CREAT | O_RDWR)
        for round in 0..<5 {
          let data = pattern(part, seed: index + round)
          try file.write(data, at: Int64(index * part))
          #expect(try file.read(part, at: Int64(index * part)) == data)
        }
      }
      try await onThread {
        let all = try Host.contents(tree("shared"))
        for index in 0..<16 {
          #expect(Array(all[(index * part)..<((index + 1) * part)]) == pattern(part, seed: index + 4))
        }
        tree.end()
      }
    }

    @Test(arguments: transports) func clientsInOneDirectory(_ transport: MountOptions.Transport) async throws {
      let tree = try await onThread { try MountedTree(options: .init(transport: transport)) }
      try await onThreads(16) { index in
        for round in 0..<60 {
          // All fight for the same names.
          let path = tree("n\(round % 4)")
          switch (index + round) % 5 {
          case 0: try? Host.makeDirectory(path)
          case 1: try? Host.removeDirectory(path)
          case 2: try? Host.create(path, [1])
          case 3: try? Host.unlink(path)
          default: try? Host.rename(path, tree("n\((round + 1) % 4)"))
          }
        }
      }
      try await onThread {
        let (outside, inside) = (try Host.names(tree.path), try tree.files.entries().map(\.name.string).sorted())
        #expect(outside == inside)
        for name in outside { _ = try Host.status(tree(name)) }
        tree.end()
      }
    }

    /// Callers that are killed while they wait: their answers arrive nowhere, and nothing of them stays.
    @Test(arguments: transports) func killedClients(_ transport: MountOptions.Transport) async throws {
      try await withMount(options: .init(transport: transport)) { tree in
        let program = """
          import os, signal, sys, time
          children = []
          for number in range(20):
              child = os.fork()
              if child == 0:
                  while True:
                      path = f'{sys.argv[1]}/k{number}'
                      with open(path, 'w') as file: file.write('x' * 100000)
                      os.listdir(sys.argv[1]); os.unlink(path)
              children.append(child)
          time.sleep(0.3)
          for child in children: os.kill(child, signal.SIGKILL)
          for child in children: os.waitpid(child, 0)
          for name in os.listdir(sys.argv[1]): os.unlink(sys.argv[1] + '/' + name)
          print('done')
          """
        let before = tree.files.statistics().freeInodes
        #expect(try python(program, tree.path) == "done")
        try eventually { tree.files.statistics().freeInodes == before }
      }
    }
  }
}
