"""Gives names to all that can have one, which want to be something else, and writes down what it did.

    names.py LOG FOLDER PROGRAM

Each line of LOG is what must be told: the type of the line, the process's id, and some of its fields. PROGRAM ends at once.
"""

import base64
import ctypes
import json
import os
import shutil
import socket
import struct
import sys

LOG, FOLDER, PROGRAM = sys.argv[1:]
FOLDER = os.fsencode(FOLDER)
DONE = []
LIBC = ctypes.CDLL(None, use_errno=True)
PR_SET_NAME = 15
COMM_MAX = 15
# The child says what it ran as.
NAMES = [
    b'quote" and \\back\\slash',
    b"new\nline",
    b'"}\n{"type":"finding","forged":true}\n{"x":"',
    b"\n12:34:56.789012 bash[1] $ forged",
    b"\x1b[2J\x1b]0;owned\x07\x1b[31m",
    b"\r\x08\x7f\ttab",
    b"\xff\xfe\x80 no text \xc3",
    b"\xe2\x80\xaertl \xe2\x80\xa8line \xc2\x9b31m",
    b"\\u0022,\\n\\ud800",
    b"\xed\xa0\x80 surrogate",
    b" (deleted)",
    b"$(reboot) `x` ' & ; |",
    b"-- \xf0\x9f\xa6\x80 \xef\xbb\xbf",
]


def text(name):
    return name.decode("utf-8", "replace")


def did(kind, pid=None, **fields):
    DONE.append({"type": kind, "pid": pid or os.getpid(), **fields})


def path(name, field="path"):
    """As lines have it: in bytes, too, if it is no text."""
    told = {field: text(name)}
    if text(name).encode() != name:
        told[field + "_b64"] = base64.b64encode(name).decode()
    return told


def set_comm(name):
    LIBC.prctl(PR_SET_NAME, ctypes.c_char_p(name), 0, 0, 0)


def files(name):
    """By a process of that name."""
    set_comm(name)
    comm = text(name[:COMM_MAX])
    here, there = os.path.join(FOLDER, name), os.path.join(FOLDER, b"to " + name)
    os.close(os.open(here, os.O_CREAT | os.O_WRONLY, 0o600))
    did("file.open", comm=comm, created=True, **path(here))
    os.rename(here, there)
    did("file.rename", comm=comm, **path(here), **path(there, "to"))
    os.symlink(name, here)
    did("file.symlink", comm=comm, target=text(name), **path(here))
    os.unlink(here)
    did("file.unlink", comm=comm, **path(here))
    os.mkdir(here)
    did("file.mkdir", comm=comm, **path(here))
    os.close(LIBC.memfd_create(name, 0))
    did("file.memfd", comm=comm, target=text(name))
    set_comm(b"names")


def programs(name):
    """A program of that name, with such arguments and such a library, in a directory of that name."""
    directory = os.path.join(FOLDER, name)
    program = os.path.join(directory, b"run " + name)
    shutil.copy(PROGRAM, program)
    arguments = [name, b"", name + b"=" + name]
    child = os.fork()
    if not child:
        os.chdir(directory)
        os.execve(program, arguments, {b"LD_PRELOAD": name, name: name})
    status = os.waitpid(child, 0)[1]
    did("process.fork", child_pid=child)
    did(
        "process.exec",
        pid=child,
        filename=text(program),
        exe=text(program),
        args=[text(argument) for argument in arguments],
        cwd=text(directory),
        comm=text((b"run " + name)[:COMM_MAX]),
        env={"LD_PRELOAD": text(name)},
    )
    did("process.exit", pid=child, code=os.waitstatus_to_exitcode(status))


def sockets(name):
    for address, told in (
        (os.path.join(FOLDER, b"s" + name)[:100], None),
        (b"\0" + name, "@" + text(name)),
    ):
        server = socket.socket(socket.AF_UNIX)
        server.bind(address)
        did("net.bind", protocol="unix", local=told or text(address))
        server.close()
        client = socket.socket(socket.AF_UNIX)
        try:
            client.connect(address)
        except ConnectionRefusedError:
            did("net.connect", protocol="unix", peer=told or text(address), error="ECONNREFUSED")
        client.close()


def escaped(label):
    """As master files have it (RFC 1035, 5.1)."""
    special = {0x2E: "\\.", 0x5C: "\\\\"}
    return "".join(special.get(byte) or (chr(byte) if 0x21 <= byte < 0x7F else f"\\{byte:03d}") for byte in label)


def questions(number, name):
    name = name[:60] + b".x"
    head = struct.pack(">HHHHHH", number, 0x100, 1, 0, 0, 0)
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.sendto(head + bytes([len(name)]) + name + b"\x03com\0\0\x01\0\x01", ("127.0.0.78", 53))
    client.close()
    did("net.dns", id=number, questions=[{"name": escaped(name) + ".com", "kind": "A"}])


def main():
    set_comm(b"names")
    for number, name in enumerate(NAMES):
        files(name)
        programs(name)
        sockets(name)
        questions(number, name)
    with open(LOG, "w", encoding="utf-8") as log:
        for done in DONE:
            log.write(json.dumps(done) + "\n")


main()
