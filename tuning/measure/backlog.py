"""How long many connections that are opened at once wait for their first reply: backlog.py PORT COUNT

Opens COUNT connections to 127.0.0.1:PORT without waiting, sends PING on each as soon as it stands, and prints the median
and the longest time from the start to its PONG, and how many had been dropped and were tried again by the kernel (0.9 s
or more).
"""

import selectors
import socket
import sys
import time

LIMIT_S = 30

port, count = int(sys.argv[1]), int(sys.argv[2])
waiting = selectors.DefaultSelector()
start = time.monotonic()
for _ in range(count):
    connection = socket.socket()
    connection.setblocking(False)
    connection.connect_ex(("127.0.0.1", port))
    waiting.register(connection, selectors.EVENT_WRITE)

times_s = []
while len(times_s) < count:
    if time.monotonic() - start > LIMIT_S:
        sys.exit(f"only {len(times_s)} of {count} were answered within {LIMIT_S} s")
    for key, _ in waiting.select(1):
        connection = key.fileobj
        if key.events == selectors.EVENT_WRITE:
            connection.send(b"PING\r\n")
            waiting.modify(connection, selectors.EVENT_READ)
            continue
        reply = connection.recv(64)
        if reply != b"+PONG\r\n":
            sys.exit(f"unexpected reply: {reply!r}")
        times_s.append(time.monotonic() - start)
        waiting.unregister(connection)

times_s.sort()
late = sum(time_s > 0.9 for time_s in times_s)
print(f"median {times_s[count // 2] * 1e3:.1f} ms, longest {times_s[-1] * 1e3:.1f} ms, {late} after 0.9 s or more")
