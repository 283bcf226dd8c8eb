"""The floor: the cheapest loopback transfer of the same files that we know how to write.

One TCP connection, no HTTP, no signature, no checksum, no comparison, no fsync; files are still
opened, written and closed one by one, because every tool has to. What a tool costs above this is
its protocol, its checks and its own work. Standard library only; run as a script:

    floor.py serve FOLDER           prints its port, then serves or swallows one tree a connection
    floor.py down PORT FOLDER       store to disk: recv_into one buffer, write
    floor.py up PORT FOLDER         disk to store: sendfile
    floor.py across PORT            store to store: splice from socket to socket

A tree on the wire is, for each file, a head of two numbers (bytes of the name, bytes of the
contents), the name, the contents; a head of zeros ends it, and the receiver answers with one byte.
"""

import os
import socket
import struct
import sys

HEAD = struct.Struct("!IQ")
# Down, 512 MiB: 1.2 s with 128 or 256 KiB, which stay in the processor's cache, 2.2 s with 1 MiB.
PIECE_BYTES = 256 * 1024
SEND, RECEIVE = b"S", b"R"  # what a connection asks of the server


def walk(root: str) -> list[tuple[str, str, int]]:
    """Return (path, name below the root, size) of every file in name order."""
    found, queue = [], [root]
    while queue:
        with os.scandir(queue.pop()) as children:
            for child in children:
                if child.is_dir():
                    queue.append(child.path)
                else:
                    found.append((child.path, child.path[len(root) + 1 :], child.stat().st_size))
    return sorted(found)


def send_tree(link: socket.socket, root: str) -> None:
    """Send every file below the root and wait for the receiver's word."""
    for path, name, size in walk(root):
        encoded = name.encode()
        link.sendall(HEAD.pack(len(encoded), size) + encoded)
        file = os.open(path, os.O_RDONLY)
        try:
            offset = 0
            while offset < size:
                offset += os.sendfile(link.fileno(), file, offset, size - offset)
        finally:
            os.close(file)
    link.sendall(HEAD.pack(0, 0))
    receive(link, memoryview(bytearray(1)))


def receive(link: socket.socket, buffer: memoryview) -> None:
    """Fill the buffer. Raises ``EOFError`` if the stream ends before."""
    while buffer:
        count = link.recv_into(buffer)
        if not count:
            raise EOFError("The other end closed the connection")
        buffer = buffer[count:]


def receive_tree(link: socket.socket, root: str) -> None:
    """Write the tree that comes in below the root."""
    buffer = memoryview(bytearray(PIECE_BYTES))
    made = set()
    while True:
        receive(link, buffer[: HEAD.size])
        name_bytes, size = HEAD.unpack(buffer[: HEAD.size])
        if not name_bytes:
            break
        receive(link, buffer[:name_bytes])
        path = f"{root}/{bytes(buffer[:name_bytes]).decode()}"
        directory = path.rpartition("/")[0]
        if directory not in made:
            os.makedirs(directory, exist_ok=True)
            made.add(directory)
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            while size:
                count = link.recv_into(buffer[: min(size, PIECE_BYTES)])
                if not count:
                    raise EOFError("The other end closed the connection")
                os.write(file, buffer[:count])
                size -= count
        finally:
            os.close(file)
    link.sendall(b".")


def swallow_tree(link: socket.socket) -> None:
    """Take a tree and forget it: the kernel drops the contents without a copy."""
    buffer = memoryview(bytearray(PIECE_BYTES))
    while True:
        receive(link, buffer[: HEAD.size])
        name_bytes, left_bytes = HEAD.unpack(buffer[: HEAD.size])
        if not name_bytes:
            break
        receive(link, buffer[:name_bytes])
        while left_bytes:
            count = link.recv_into(buffer, min(left_bytes, PIECE_BYTES), socket.MSG_TRUNC)
            if not count:
                raise EOFError("The other end closed the connection")
            left_bytes -= count
    link.sendall(b".")


def pass_tree(source: socket.socket, target: socket.socket) -> None:
    """Move a tree from one connection to the other through a pipe, never into this process."""
    buffer = memoryview(bytearray(HEAD.size))
    reader, writer = os.pipe()
    while True:
        receive(source, buffer)
        target.sendall(buffer)
        name_bytes, size = HEAD.unpack(buffer)
        if not name_bytes:
            break
        left_bytes = name_bytes + size
        while left_bytes:
            held = os.splice(source.fileno(), writer, min(left_bytes, PIECE_BYTES))
            if not held:
                raise EOFError("The source closed the connection")
            left_bytes -= held
            while held:
                held -= os.splice(reader, target.fileno(), held)
    receive(target, memoryview(bytearray(1)))
    source.sendall(b".")


def serve(root: str) -> None:
    """Accept for ever; each connection is one tree, and a process of its own."""
    listener = socket.create_server(("127.0.0.1", 0))
    sys.stdout.write(f"{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    while True:
        link, _ = listener.accept()
        if os.fork():
            link.close()
            continue
        status = 1
        try:
            wish = link.recv(1)
            if wish == SEND:
                send_tree(link, root)
            else:
                swallow_tree(link)
            status = 0
        finally:
            os._exit(status)


def connect(port: str, wish: bytes) -> socket.socket:
    """Open a connection and say what it is for."""
    link = socket.create_connection(("127.0.0.1", int(port)))
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    link.sendall(wish)
    return link


def main(arguments: list[str]) -> None:
    """Run one of the four roles."""
    match arguments:
        case ["serve", root]:
            import signal

            signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # ended connections leave no zombies
            serve(root)
        case ["down", port, root]:
            receive_tree(connect(port, SEND), root)
        case ["up", port, root]:
            send_tree(connect(port, RECEIVE), root)
        case ["across", port]:
            pass_tree(connect(port, SEND), connect(port, RECEIVE))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
