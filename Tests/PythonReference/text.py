"""Runs scripts of text operations on Python's own files: a JSON array of scripts on standard input, an outcome in JSON a
line on standard output. TextReference.swift has their shapes.
"""

import io
import json
import sys
import tempfile

ANYTHING = "*anything*"


class Stop(Exception):
    """The rest of the script has no defined outcome."""


class FileBytes(io.BytesIO):
    """Bytes that truncate() extends, as it does those of a file; BytesIO leaves them."""

    def truncate(self, size=None):
        size = self.tell() if size is None else size
        missing = size - self.getbuffer().nbytes
        if missing > 0:
            position = self.seek(0, 1)
            self.seek(0, 2)
            self.write(bytes(missing))
            self.seek(position)
        return super().truncate(size)


class TextScript:
    """Text over bytes in memory, or over a spooled file if max_size is given."""

    def __init__(self, content, encoding, newline, errors, max_size=None):
        settings = dict(encoding=encoding, newline=newline, errors=errors)
        if max_size is None:
            self.bytes = FileBytes(content)
            self.file = io.TextIOWrapper(self.bytes, **settings)
        else:
            self.bytes = None
            self.file = tempfile.SpooledTemporaryFile(mode='w+', max_size=max_size, **settings)
            inner = self.file._file.buffer
            inner.write(content)
            inner.seek(0)
        self.marks = [0]
        self.has_read = False
        self.has_told = False

    def content(self):
        self.file.flush()
        if self.bytes is not None:
            return self.bytes.getvalue()
        raw = self.file._file.buffer
        raw.seek(0)
        return raw.read()

    def result(self, value):
        # Surrogates of surrogateescape are other scalars with us.
        return ''.join(chr(ord(c) + 0x1300) if '\udc80' <= c <= '\udcff' else c for c in value)

    def argument(self, text):
        return ''.join(chr(ord(c) - 0x1300) if '\uef80' <= c <= '\uefff' else c for c in text)

    def settle(self):
        # After reading, Python writes and truncates wherever it happened to read ahead to.
        if self.has_read:
            self.has_told = True
            place = self.file.tell()
            if place >> 64:
                # Between \r and \n, or within what stands for undecodable bytes: there is no byte to write at.
                raise Stop
            self.file.seek(place)
        self.has_read = False

    def read(self, number=-1):
        self.has_read = True
        return self.result(self.file.read(number))

    def readline(self, number=-1):
        self.has_read = True
        return self.result(self.file.readline(number))

    def readlines(self):
        self.has_read = True
        return self.result('|'.join(self.file.readlines()))

    def write(self, text):
        self.settle()
        self.file.write(self.argument(text))
        if self.bytes is None:
            # read1() of a file that has rolled over reads past what is not flushed.
            self.file.flush()
        self.has_told = False

    def tell(self):
        self.has_told = True
        self.marks.append(self.file.tell())

    def seek(self, number):
        place = self.marks[number % len(self.marks)]
        self.file.seek(place)
        self.has_read = place >> 64 != 0
        self.has_told = place != 0

    def seek_end(self):
        self.file.seek(0, 2)
        self.has_read = self.has_told = False

    def truncate(self):
        self.settle()
        self.file.truncate()

    def flush(self):
        self.file.flush()

    def newlines(self):
        if self.has_told:
            # Telling decodes once more, and may forget what was seen.
            return ANYTHING
        seen = self.file.newlines
        seen = (seen,) if isinstance(seen, str) else seen or ()
        return ' '.join(sorted({'\r': 'cr', '\n': 'lf', '\r\n': 'crlf'}[kind] for kind in seen))


KINDS = {'text': TextScript}


def run(script):
    content = bytes.fromhex(script['content'])
    subject = KINDS[script['kind']](content, **script['settings'])
    answers = []
    content = None
    for step in script['steps']:
        arguments = [step[key] for key in ('text', 'number') if key in step]
        try:
            answer = getattr(subject, step['name'])(*arguments)
            answers.append('= ' + (answer or ''))
        except UnicodeEncodeError:
            answers.append('! encodingFailed')
        except Stop:
            break
        except (UnicodeError, OSError) as error:
            # Python has lost what it had read ahead.
            answers.append('! decodingFailed' if isinstance(error, UnicodeDecodeError) else '! %s' % error)
            break
    else:
        content = subject.content().hex()
    return {'answers': answers, 'content': content}


for script in json.load(sys.stdin):
    print(json.dumps(run(script)))
