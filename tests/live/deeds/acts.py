"""Does what programs do with processes and sockets, and writes down what it did.

    acts.py LOG FOLDER

Each line of LOG is what must be told: the type of the line, the process's id, and some of its fields.
"""

import ctypes
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

LOG, FOLDER = sys.argv[1:]
DONE = []
LIBC = ctypes.CDLL(None, use_errno=True)
MOVED = """
import fcntl, os
ends = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3) for fd in (0, 1)]
nothing = os.open("/dev/null", os.O_RDWR)
os.dup2(nothing, 0)
os.dup2(nothing, 1)
os.write(ends[1], os.read(ends[0], 100))
"""


def did(kind, pid=None, **fields):
    DONE.append({"type": kind, "pid": pid or os.getpid(), **fields})


def place(sock):
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def stream(family, host):
    """A connection to ourselves."""
    server = socket.socket(family, socket.SOCK_STREAM)
    server.bind((host, 0))
    did("net.bind", protocol="tcp", local=place(server))
    server.listen(5)
    did("net.listen", protocol="tcp", local=place(server))

    def answer():
        there, _ = server.accept()
        there.recv(100)
        there.sendall(b"x" * 1000)
        there.close()

    thread = threading.Thread(target=answer)
    thread.start()
    here = socket.create_connection(server.getsockname()[:2])
    mine, theirs = place(here), place(server)
    did("net.connect", protocol="tcp", local=mine, peer=theirs)
    here.sendall(b"hello")
    while here.recv(4096):
        pass
    here.close()
    thread.join()
    server.close()
    did("net.accept", protocol="tcp", local=theirs, peer=mine)
    did("net.close", protocol="tcp", local=mine, peer=theirs, sent=5, received=1000)
    did("net.close", protocol="tcp", local=theirs, peer=mine, sent=1000, received=5)


def refused():
    sock = socket.socket()
    try:
        sock.connect(("127.0.0.1", 1))
    except ConnectionRefusedError:
        did("net.connect", peer="127.0.0.1:1", error="ECONNREFUSED")
    sock.close()
    sock = socket.socket()
    sock.setblocking(False)
    sock.connect_ex(("127.0.0.1", 2))
    time.sleep(0.05)
    sock.close()
    did("net.connect", peer="127.0.0.1:2", pending=True)
    did("net.connected", peer="127.0.0.1:2", error="ECONNREFUSED")
    did("net.close", peer="127.0.0.1:2", sent=0, received=0)


def datagrams():
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for port in (9999, 9999, 9998):
        sock.sendto(b"abc", ("127.0.0.1", port))
    sock.close()
    did("net.send", protocol="udp", peer="127.0.0.1:9999")
    did("net.send", protocol="udp", peer="127.0.0.1:9998")
    did("net.close", protocol="udp", sent=9, received=0)


def local():
    path = os.path.join(FOLDER, "socket")
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    did("net.bind", protocol="unix", local=path)
    server.listen(1)
    did("net.listen", protocol="unix")
    client = socket.socket(socket.AF_UNIX)
    client.connect(path)
    client.sendall(b"12345")
    client.close()
    server.close()
    did("net.connect", protocol="unix", peer=path)
    did("net.close", protocol="unix", sent=5, received=0)
    named = socket.socket(socket.AF_UNIX)
    named.bind("\0abstract")
    named.close()
    did("net.bind", protocol="unix", local="@abstract")


def names():
    """A name server of our own, and a connection to what it told."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.77", 53))
    did("net.bind", protocol="udp", local="127.0.0.77:53")
    head = struct.pack(">HHHHHH", 77, 0x100, 1, 0, 0, 0)
    question = b"\x03api\x07example\x00\x00\x01\x00\x01"
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.connect(("127.0.0.77", 53))
    did("net.connect", protocol="udp", peer="127.0.0.77:53")
    client.send(head + question)
    _, asker = server.recvfrom(512)
    answer = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x10\x00\x04\x7f\x00\x00\x01"
    server.sendto(struct.pack(">HHHHHH", 77, 0x8180, 1, 1, 0, 0) + question + answer, asker)
    client.recv(512)
    server.close()
    client.close()
    asked = [{"name": "api.example", "kind": "A"}]
    did("net.dns", direction="write", id=77, questions=asked)
    told = [{"name": "api.example", "kind": "A", "value": "127.0.0.1"}]
    did("net.dns", direction="read", id=77, questions=asked, answers=told)
    did("net.send", protocol="udp", peer=f"{asker[0]}:{asker[1]}")
    did("net.close", protocol="udp", sent=45, received=29)
    did("net.close", protocol="udp", sent=29, received=45)
    sock = socket.socket()
    sock.connect_ex(("127.0.0.1", 3))
    sock.close()
    did("net.connect", peer="127.0.0.1:3", host="api.example", error="ECONNREFUSED")


def child(run):
    """A process that does this and ends."""
    pid = os.fork()
    if pid == 0:
        try:
            run()
        finally:
            os._exit(9)
    did("process.fork", child_pid=pid)
    return pid


def ended(pid):
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        did("process.exit", pid, signal=signal.Signals(os.WTERMSIG(status)).name)
    else:
        did("process.exit", pid, code=os.WEXITSTATUS(status))


def processes():
    ended(child(lambda: os._exit(3)))
    pid = child(lambda: time.sleep(20))
    os.kill(pid, signal.SIGKILL)
    did("process.signal", name="SIGKILL", target=pid)
    ended(pid)
    LIBC.ptrace(16, 1, 0, 0)
    if ctypes.get_errno():
        did("process.ptrace", request="attach", target=1, error="EPERM")
    try:
        os.execv("/no/such/program", ["x"])
    except OSError:
        did("process.exec", filename="/no/such/program", error="ENOENT")
    other = 65534

    def as_other():
        os.setresuid(other, other, other)
        os.execve("/bin/true", ["true", "\N{SNOWMAN}", 'quo"te', "new\nline", ""], {"LD_PRELOAD": "", "SECRET": "tell nobody"})

    pid = child(as_other)
    ended(pid)
    did("process.setid", pid, uid=other, euid=other)
    arguments = ["true", "\N{SNOWMAN}", 'quo"te', "new\nline", ""]
    did("process.exec", pid, filename="/bin/true", args=arguments, uid=other, euid=other, env={"LD_PRELOAD": ""})
    pid = child(lambda: os.execv("/bin/true", ["true"] + ["y" * 100_000] * 4))
    ended(pid)
    did("process.exec", pid, args_missing=5 + 4 * 100_001 - (128 << 10))
    LIBC.syscall(425, 8, ctypes.create_string_buffer(200))
    if ctypes.get_errno() == 0:
        did("process.blind", by="io_uring")


def programs():
    script = os.path.join(FOLDER, "script")
    with open(script, "w") as file:
        file.write("#!/bin/sh -e\nexit 4\n")
    os.chmod(script, 0o755)
    os.chdir(FOLDER)
    pid = child(lambda: os.execv("./script", ["./script", "one"]))
    ended(pid)
    did("process.exec", pid, filename="./script", script=script, interpreter="/bin/sh", cwd=FOLDER,
        args=["/bin/sh", "-e", "./script", "one"])
    # The interpreter opens it.
    did("file.open", pid, path=script, was_written=True)
    memory = os.memfd_create("hidden")
    did("file.memfd", target="hidden")
    with open("/bin/true", "rb") as program:
        os.write(memory, program.read())
    pid = child(lambda: os.execv(f"/proc/self/fd/{memory}", ["hidden"]))
    ended(pid)
    did("process.exec", pid, exe="memfd:hidden", was_written=True)
    talk = subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    said, _ = talk.communicate(b"in put\n")
    did("process.stdio", talk.pid, stream="stdin", direction="read", data=said.decode())
    did("process.stdio", talk.pid, stream="stdout", direction="write", data=said.decode())
    # As servers do that want nobody else to write there.
    talk = subprocess.Popen([sys.executable, "-c", MOVED], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    said, _ = talk.communicate(b"moved\n")
    did("process.stdio", talk.pid, stream="stdin", direction="read", data=said.decode())
    did("process.stdio", talk.pid, stream="stdout", direction="write", data=said.decode())


stream(socket.AF_INET, "127.0.0.1")
stream(socket.AF_INET6, "::1")
refused()
datagrams()
local()
names()
processes()
programs()
with open(LOG, "w") as log:
    for line in DONE:
        log.write(json.dumps(line) + "\n")
