"""A small HTTP/2 client for attacks on our own server: frames, and headers as HPACK literals that need no table.

Owns the bytes of frames. It obeys no window and no setting of the server: what it sends is bounded by its callers.
"""

import socket
import ssl

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, CONTINUATION = 0, 1, 3, 4, 6, 7, 9
END_STREAM, END_HEADERS, ACK = 1, 4, 1


def frame(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def text(data):
    """A string of HPACK without Huffman coding, at most 126 bytes long or as long as the length needs."""
    if len(data) < 127:
        return bytes([len(data)]) + data
    rest, out = len(data) - 127, bytearray([127])
    while rest >= 128:
        out.append(rest % 128 + 128)
        rest //= 128
    out.append(rest)
    return bytes(out) + data


def field(name, value):
    """A header as a literal that no table keeps."""
    return b"\x00" + text(name) + text(value)


def block(path, *more):
    fields = [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"x"), (b":path", path), *more]
    return b"".join(field(name, value) for name, value in fields)


def open_connection(port, address):
    """A TLS connection that speaks HTTP/2, with both prefaces sent."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    s = socket.socket()
    s.settimeout(10)
    s.bind((address, 0))
    s.connect(("127.0.0.1", port))
    tls = context.wrap_socket(s)
    assert tls.selected_alpn_protocol() == "h2", tls.selected_alpn_protocol()
    tls.sendall(PREFACE + frame(SETTINGS, 0, 0))
    return tls


def pour(connection, pieces):
    """Sends pieces until the server ends the connection; gives how many went out, and whether it ended it. What the server
    sends is read in between and dropped, so that neither side waits for the other for ever."""
    connection.setblocking(False)
    sent = 0
    for piece in pieces:
        view, waited = memoryview(piece), 0
        while view:
            try:
                while connection.recv(65536):
                    pass
                return sent, True  # the end of what it sends
            except (ssl.SSLWantReadError, BlockingIOError):
                pass
            except (OSError, ssl.SSLError):
                return sent, True
            try:
                view = view[connection.send(view):]
                waited = 0
            except (ssl.SSLWantWriteError, BlockingIOError):
                waited += 1
                if waited > 1000:
                    return sent, False  # it takes nothing any more
                connection_wait(connection)
            except (OSError, ssl.SSLError):
                return sent, True
        sent += 1
    return sent, False


def connection_wait(connection):
    import select  # pylint: disable=import-outside-toplevel
    select.select([connection], [connection], [], 0.01)


def said(connection, limit=5):
    """What the server still sends, until it closes or is silent."""
    connection.setblocking(True)
    connection.settimeout(limit)
    out = b""
    try:
        while more := connection.recv(65536):
            out += more
    except (OSError, ssl.SSLError):
        pass
    return out
