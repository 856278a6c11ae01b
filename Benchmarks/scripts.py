"""The Python programs that scripts/bench runs: scripts.py FUNCTION DIRECTORY COUNT prints the seconds it took."""

import os
import random
import sqlite3
import sys
import tempfile
import time

SINGLE_COMMITS = 300


def sqlite(directory, count):
    source = random.Random(1)
    rows = [(number, source.getrandbits(60), f"row {number}" * 4) for number in range(count)]
    path = os.path.join(directory, "bench.sqlite")
    start = time.perf_counter()
    database = sqlite3.connect(path)
    database.execute("create table rows (id integer primary key, key integer, text text)")
    piece = -(-count // 20)
    for first in range(0, count, piece):
        with database:
            database.executemany("insert into rows values (?, ?, ?)", rows[first : first + piece])
    with database:
        database.execute("create index by_key on rows (key)")
    for number in range(count, count + SINGLE_COMMITS):
        with database:
            database.execute("insert into rows values (?, ?, ?)", (number, number, "single"))
    database.close()
    seconds = time.perf_counter() - start
    os.unlink(path)
    return seconds


def named_temporary_files(directory, count):
    start = time.perf_counter()
    for _ in range(count):
        with tempfile.NamedTemporaryFile(dir=directory) as file:
            file.write(b"some bytes")
            file.flush()
            file.seek(0)
            file.read()
    return time.perf_counter() - start


print(globals()[sys.argv[1]](sys.argv[2], int(sys.argv[3])))
