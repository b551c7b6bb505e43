#!/usr/bin/env python3
"""Everything that processes do with TLS connections on their hands: forks, execs, threads, deaths.

    torture.py DIR            all of it
    torture.py DIR WORD       what an exec'ed copy does: one conversation

DIR holds cert.pem and key.pem. Each end of each connection leaves a line in DIR/log.PID.START, with START
as in /proc/PID/stat: what it wrote and read there, in hex. Every message names its process, so a byte under
another one is seen. No network: both ends are in one process, over memory or a socket pair.
"""

import ctypes
import json
import os
import signal
import socket
import sys
import threading
import time

DIR = sys.argv[1]
LOCK = threading.Lock()


def start():
    with open("/proc/self/stat") as stat:
        return int(stat.read().rsplit(")", 1)[1].split()[19])


def log(*ends):
    with LOCK, open(f"{DIR}/log.{os.getpid()}.{start()}", "a") as out:
        for end in ends:
            line = {"written": end.written.hex(), "read": end.heard.hex()}
            out.write(json.dumps(line) + "\n")


def contexts():
    import ssl  # here: the first to need it loads libssl into a running process

    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(f"{DIR}/cert.pem", f"{DIR}/key.pem")
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    return ssl, client, server


class End:
    def __init__(self, tls):
        self.tls, self.written, self.heard = tls, b"", b""

    def write(self, text):
        data = f"{text} of {os.getpid()}.{start()};".encode()
        assert self.tls.write(data) == len(data)
        self.written += data
        return len(data)

    def read(self, length):
        data = b""
        while len(data) < length:
            data += self.tls.read(length - len(data))
        self.heard += data


def pair():
    ssl, client, server = contexts()
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [client.wrap_bio(down, up), server.wrap_bio(up, down, server_side=True)]
    waiting = list(ends)
    while waiting:
        end = waiting.pop(0)
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            waiting.append(end)
    return [End(end) for end in ends]


def exchange(client, server, what, count=3):
    for number in range(count):
        server.read(client.write(f"{what} asks {number}"))
        client.read(server.write(f"{what} answers {number} " + "x" * 3000))


def talk(what):
    ends = pair()
    exchange(*ends, what)
    log(*ends)


def child(act, *arguments):
    """Its pid; it never returns."""
    pid = os.fork()
    if pid == 0:
        act(*arguments)
        os._exit(0)
    return pid


def wait(pid):
    status = os.waitpid(pid, 0)[1]
    assert status == 0, status


def daemon():
    """The process in between has gone before the first word."""
    gone = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.close(gone[1])
            while os.getppid() not in (1, INIT):
                time.sleep(0.01)
            time.sleep(0.2)
            talk("daemon")
            with open(f"{DIR}/daemon", "w"):
                os._exit(0)
        os._exit(0)
    os.close(gone[1])
    os.wait()


def forked_in_the_middle():
    ends = pair()
    exchange(*ends, "before the fork")
    log(*ends)

    def go_on():
        for end in ends:
            end.written = end.heard = b""
        exchange(*ends, "after the fork")
        log(*ends)

    wait(child(go_on))


def exec_self(word):
    os.execv(sys.executable, [sys.executable, sys.argv[0], DIR, word])


def exec_from_a_thread():
    talk("before the exec")
    threading.Thread(target=exec_self, args=["thread"]).start()
    time.sleep(30)


def killed_in_a_call():
    told, tell = os.pipe()

    def die():
        ssl, client_context, server_context = contexts()
        near, far = socket.socketpair()
        ends = [None, None]

        def serve():
            ends[1] = End(server_context.wrap_socket(far, server_side=True))

        server = threading.Thread(target=serve)
        server.start()
        ends[0] = End(client_context.wrap_socket(near))
        server.join()
        ends[1].read(ends[0].write("last words"))
        log(*ends)
        os.write(tell, b"x")
        ends[0].tls.read(1)

    pid = child(die)
    os.read(told, 1)
    time.sleep(0.3)
    os.kill(pid, signal.SIGKILL)
    assert os.waitpid(pid, 0)[1] == signal.SIGKILL


def clone_as(pid):
    """A child with this very pid, as fork(2) would make it."""
    wanted = (ctypes.c_int * 1)(pid)
    # struct clone_args: exit_signal is the fifth, set_tid and set_tid_size the ninth and tenth.
    args = (ctypes.c_uint64 * 11)(0, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, ctypes.addressof(wanted), 1, 0)
    return ctypes.CDLL(None, use_errno=True).syscall(435, ctypes.byref(args), 88)


def pids_used_again():
    for _ in range(100):
        pid = child(talk, "first of its pid")
        wait(pid)
        reused = 0
        for number in range(3):
            made = clone_as(pid)
            if made == 0:
                talk(f"reuse {number}")
                os._exit(0)
            if made == pid:
                wait(pid)
                reused += 1
        if reused:
            return
    sys.exit("no pid could be used again")


def threads():
    all_of_them = [threading.Thread(target=talk, args=[f"thread {number}"]) for number in range(4)]
    for thread in all_of_them:
        thread.start()
    for thread in all_of_them:
        thread.join()


def main():
    wait(child(talk, "loads libssl"))
    talk("main")
    children = [child(talk, f"child {number}") for number in range(4)]
    for pid in children:
        wait(pid)
    daemon()
    forked_in_the_middle()
    wait(child(exec_self, "exec"))
    wait(child(exec_from_a_thread))
    killed_in_a_call()
    pids_used_again()
    threads()
    while not os.path.exists(f"{DIR}/daemon"):
        time.sleep(0.05)


# Orphans may go to a nearer one than 1 (PR_SET_CHILD_SUBREAPER).
INIT = None
if len(sys.argv) > 2:
    talk(sys.argv[2])
else:
    parent = os.getpid()

    def find_init():
        middle = os.getpid()
        if os.fork() == 0:
            while os.getppid() == middle:
                time.sleep(0.005)
            with open(f"{DIR}/init", "w") as out:
                out.write(str(os.getppid()))
            os._exit(0)

    wait(child(find_init))
    while not (os.path.exists(f"{DIR}/init") and os.path.getsize(f"{DIR}/init")):
        time.sleep(0.01)
    with open(f"{DIR}/init") as told:
        INIT = int(told.read())
    main()
