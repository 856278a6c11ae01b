import Glibc
import SystemPackage
import Testing

extension CommandTests {
  /// Version control and compilers.
  @Suite(.serialized, .timeLimit(.minutes(10))) struct ProgramsBuildTests {
    @Test(arguments: Sandbox.places)
    func gitClones(in place: Place) async throws {
      try await Sandbox.with { sandbox in
        try await sandbox.expectSameAsOnDisk(
          """
          export HOME=$TMPDIR GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_NAME=A GIT_AUTHOR_EMAIL=a@example.org
          export GIT_COMMITTER_NAME=A GIT_COMMITTER_EMAIL=a@example.org
          git init -q -b main origin
          cd origin
          mkdir -p deep/er/and/deeper
          for i in $(seq 60); do
            export GIT_AUTHOR_DATE="@$((1000000000 + i)) +0000" GIT_COMMITTER_DATE="@$((1000000000 + i)) +0000"
            seq $((i * 1000)) > "file$((i % 7))"
            seq $i > "deep/er/and/deeper/$i"
            ln -sf "file$((i % 7))" link
            git add -A
            git commit -q -m "change $i"
            if [ $((i % 20)) = 0 ]; then
              git checkout -q -b "side$i" HEAD~3 && echo "$i" > side && git add side && git commit -q -m side
              git checkout -q main && git merge -q --no-ff -m "merge $i" "side$i"
            fi
          done
          head -c 6000000 /dev/zero | tr '\\0' x > large
          git add large && git commit -q -m large && git tag -a -m tag tag
          cd ..
          git clone -q --no-local origin packed
          git clone -q origin linked
          git -C linked gc -q --aggressive --prune=now
          git -C packed repack -q -adf
          for repository in origin packed linked; do
            git -C $repository fsck --full --strict
            git -C $repository log --all --format='%H %T %s'
            git -C $repository status --porcelain
            git -C $repository archive --format=tar tag | sha256sum
          done
          git -C packed worktree add -q ../tree side40
          git -C packed stash list
          ls -A tree
          """, in: place)
      }
    }

    @Test(arguments: Sandbox.places, Sandbox.users)
    func gccAndMakeBuild(in place: Place, as user: uid_t?) async throws {
      try await Sandbox.with(user: user) { sandbox in
        let makefile = try sandbox.file("Makefile", Self.makefile)
        try await sandbox.expectSameAsOnDisk(
          """
          mkdir project && cd project && cp "$1" Makefile
          for i in 1 2 3 4 5 6 7 8; do
            printf '#include <stdio.h>\\n#include "all.h"\\nint part%d(int n) { return printf("part %%d\\\\n", n + %d); }\\n' $i $i
          done > parts
          split -l 3 --numeric-suffixes=1 -a 1 --additional-suffix=.c parts part
          for i in 1 2 3 4 5 6 7 8; do echo "int part$i(int);"; done > all.h
          { echo '#include "all.h"'; echo 'int main(void) {'
            for i in 1 2 3 4 5 6 7 8; do echo "part$i($i);"; done; echo 'return 0; }'; } > main.c
          make -s -j2
          ./program
          make -s -j2 && echo again
          touch part3.c && make -j2
          gcc -save-temps -O2 -o saved main.c part*.c
          ./saved
          ls
          sha256sum *.o *.i *.s *.a program saved
          make -s clean
          ls -A . ..
          """, [makefile], in: place)
      }
    }

    private static let makefile = """
      objects = $(patsubst %.c, %.o, $(wildcard part*.c))
      program: main.o libparts.a
      \tgcc -o $@ $^
      libparts.a: $(objects)
      \tar rcsD $@ $^
      %.o: %.c all.h
      \tgcc -O2 -c -o $@ $<
      clean:
      \trm -f *.o *.a *.i *.s *.bc program saved saved-*

      """
  }
}
