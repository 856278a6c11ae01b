// How options are read: no mount is needed for these.

import ArgumentParser
import SpoolFS
import SystemPackage
import Testing

@testable import spoolfs

extension CommandTests {
  @Suite struct Sizes {
    @Test(arguments: [
      ("0", 0), ("4096", 4096), ("1k", 1 << 10), ("3K", 3 << 10), ("64m", 64 << 20), ("2g", 2 << 30), ("1T", 1 << 40),
      ("9223372036854775807", Int64.max),
    ])
    func areBytesOrPowersOf1024(text: String, bytes: Int64) throws {
      #expect(try SizeAmount(parsing: text) == .bytes(bytes))
    }

    @Test func percentagesAreOfTheMemory() throws {
      #expect(try SizeAmount(parsing: "50%") == .percent(50))
      #expect(try SizeAmount(parsing: "50%").resolved(memory: 1001) == 500)
      #expect(try SizeAmount(parsing: "150%").resolved(memory: 2000) == 3000)
      #expect(try SizeAmount(parsing: "100%").resolved(memory: .max) == .max)
    }

    @Test func unlimitedIsNoNumber() throws {
      #expect(try SizeAmount(parsing: "unlimited").resolved(memory: 1) == nil)
    }

    @Test(arguments: [
      "", "m", "12q", "1.5g", "-1", "+1", " 1", "1 m", "1mb", "0x10", "%", "5%%", "5m%", "９", "9223372036854775808",
      "8388608t", "99999999%",
    ])
    func anythingElseIsRefused(text: String) {
      #expect(throws: SizeAmount.Invalid.self) { try SizeAmount(parsing: text) }
    }
  }

  @Suite struct OptionLists {
    private func settings(_ lists: String...) throws -> Settings {
      var settings = Settings()
      for list in lists { try OptionList.apply(list, to: &settings) }
      return settings
    }

    private func message(_ list: String) -> String? {
      do {
        _ = try settings(list)
        return nil
      } catch {
        return "\(error)"
      }
    }

    @Test func knowTheNamesOfTmpfs() throws {
      let settings = try settings("size=1g,nr_inodes=5k,mode=1777,uid=1000,gid=100")
      #expect(settings.size == .bytes(1 << 30))
      #expect(settings.inodes == 5120)
      #expect(settings.mode == 0o1777)
      #expect(settings.user == 1000)
      #expect(settings.group == 100)
      #expect(try self.settings("nr_blocks=2k").size == .bytes(2048 * 4096))
      #expect(try self.settings("size=0").size == .unlimited)
    }

    @Test func knowOurOwnNames() throws {
      let settings = try settings(
        """
        threshold=4m,memory=10%,spill_dir=/data/spill,spill_max=1t,encrypt_spill,inodes=7,lifetime=close,cache=none,\
        transport=ring
        """)
      #expect(settings.threshold == .bytes(4 << 20))
      #expect(settings.memory == .percent(10))
      #expect(settings.spillDirectory == "/data/spill")
      #expect(settings.spillCapacity == .bytes(1 << 40))
      #expect(settings.encryptsSpill)
      #expect(settings.inodes == 7)
      #expect(settings.lifetime == .close)
      #expect(settings.cache == MountOptions.Cache.none)
      #expect(settings.transport == .ring)
    }

    @Test func knowTheFlagsOfAnyMount() throws {
      let settings = try settings(
        "rw,noexec,nosuid,noatime,strictatime,relatime,allow_other,nonempty,xattr,defaults,x-a.b=c,nofail")
      #expect(settings.flags == [.noExecution, .noSetUserID, .noDevices, .noAccessTimes, .strictAccessTimes])
      #expect(settings.allowOther && settings.nonEmpty && settings.extendedAttributes)
    }

    @Test func laterItemsWin() throws {
      let settings = try settings("ro,exec,size=1m", "rw,noexec,size=2m")
      #expect(settings.flags == [.noExecution, .noSetUserID, .noDevices])
      #expect(try self.settings("nodev,dev,suid").flags == [])
      #expect(settings.size == .bytes(2 << 20))
    }

    @Test func aBackslashKeepsAComma() throws {
      #expect(try settings(#"spill_dir=/a\,b,ro"#).spillDirectory == "/a,b")
      #expect(try settings(#"spill_dir=/a\b\"#).spillDirectory == #"/a\b\"#)
    }

    @Test(arguments: [
      ("bogus", "unknown option 'bogus' in -o"),
      ("bogus=1", "unknown option 'bogus=1' in -o"),
      ("size", "-o size needs a value: size=…"),
      ("ro=1", "-o ro takes no value"),
      ("allow_other=1", "-o allow_other takes no value"),
      ("encrypt_spill=1", "-o encrypt_spill takes no value"),
      ("mode=999", "-o mode: '999' is not a mode: write octal permission bits such as 0700 or 1777"),
      ("uid=root", "-o uid: 'root' is not a numeric id"),
      ("nr_inodes=50%", "-o nr_inodes: '50%' is not a count: write a number, or a number with k, m or g"),
      ("cache=all", "-o cache: 'all' is none of writeback, writethrough, none"),
      ("transport=usb", "-o transport: 'usb' is none of auto, ring, device"),
      ("huge=always", "-o huge=always: this option of tmpfs has no meaning for spoolfs"),
      ("size=1x", "-o size: '1x' is not a size: write bytes, a number with k, m, g or t, or a percentage of the RAM"),
    ])
    func tellWhatIsWrong(list: String, expected: String) {
      #expect(message(list) == expected)
    }
  }

  @Suite struct CommandLines {
    private func run(_ arguments: String...) throws -> RunCommand {
      try #require(try SpoolCommand.parseAsRoot(["run"] + arguments) as? RunCommand)
    }

    @Test func everythingFromTheProgramOnIsItsOwn() throws {
      #expect(
        try run("make", "-j2", "--size", "1x", "--", "test").program == ["make", "-j2", "--size", "1x", "--", "test"])
      #expect(try run("--size=1m", "--", "make", "-k").program == ["make", "-k"])
      #expect(try run("--", "-odd-name", "x").program == ["-odd-name", "x"])
      #expect(try run("-o", "ro", "--lifetime", "close", "sh", "-c", "x").program == ["sh", "-c", "x"])
    }

    @Test func aLongOptionWinsOverItsNameInALists() throws {
      let settings = try run(
        "--size", "2m", "--mode", "755", "-o", "size=1m,mode=700,memory=3m", "-o", "memory=4m", "true"
      ).tree.settings()
      #expect(settings.size == .bytes(2 << 20))
      #expect(settings.mode == 0o755)
      #expect(settings.memory == .bytes(4 << 20))
    }

    @Test func everyOptionOfTheTreeIsKnownToBoth() throws {
      let options = [
        "--threshold", "unlimited", "--memory", "1g", "--spill-dir", "/var/tmp", "--spill-max", "0", "--size", "50%",
        "--inodes", "1m", "--mode", "0750", "--lifetime", "close", "--cache", "writethrough", "--allow-other",
        "--encrypt-spill", "-o", "ro",
      ]
      let run = try #require(try SpoolCommand.parseAsRoot(["run"] + options + ["true"]) as? RunCommand)
      let mount = try #require(try SpoolCommand.parseAsRoot(["mount"] + options + ["/mnt"]) as? MountCommand)
      #expect(try run.tree.settings() == mount.tree.settings())
      let settings = try run.tree.settings()
      #expect(settings.threshold == .unlimited)
      #expect(settings.memory == .bytes(1 << 30))
      #expect(settings.spillDirectory == "/var/tmp")
      #expect(settings.spillCapacity == .bytes(0))
      #expect(settings.encryptsSpill)
      #expect(settings.size == .percent(50))
      #expect(settings.inodes == 1 << 20)
      #expect(settings.mode == 0o750)
      #expect(settings.lifetime == .close)
      #expect(settings.cache == .writethrough)
      #expect(settings.allowOther)
      #expect(settings.flags == [.readOnly, .noSetUserID, .noDevices])
    }
  }

  @Suite struct WaitStatuses {
    private static let statuses: [(Int32, WaitStatus)] = [
      (0, .exited(0)), (0x7d00, .exited(125)), (9, .signaled(9)), (0x8b, .signaled(11)), (0x137f, .stopped(19)),
      (0xffff, .continued),
    ]

    @Test(arguments: statuses)
    func areThoseOfTheSystem(raw: Int32, status: WaitStatus) {
      #expect(WaitStatus(raw: raw) == status)
    }
  }
}
