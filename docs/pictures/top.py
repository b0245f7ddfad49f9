#!/usr/bin/env python3
"""Draws docs/pictures/top.svg: what `tallyring top` shows in a terminal of 80 by 24.

    docs/pictures/top.py target/release/tallyring 127.0.0.1:6379 > docs/pictures/top.svg

It runs the real program in a pseudo-terminal, lets a terminal emulator (PyPI: pyte) keep the screen, and writes that.
"""

import fcntl
import html
import os
import pty
import select
import struct
import sys
import termios
import time

import pyte

COLUMNS, LINES, SECONDS = 80, 24, 4
CELL, LINE, MARGIN = 8.4, 18, 14
BACKGROUND, FOREGROUND = "#16191d", "#d7dadf"
COLOURS = {"default": FOREGROUND, "red": "#e0646c", "green": "#8cc570", "brown": "#d9b45f", "yellow": "#d9b45f",
           "blue": "#6ca8e0", "magenta": "#c187d6", "cyan": "#62bcc4", "white": "#ffffff", "black": "#5c6370"}


def screen_of(command):
    screen = pyte.Screen(COLUMNS, LINES)
    stream = pyte.ByteStream(screen)
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "xterm-256color"
        os.execvp(command[0], command)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        if select.select([terminal], [], [], 0.1)[0]:
            stream.feed(os.read(terminal, 65536))
    os.write(terminal, b"q")
    os.waitpid(pid, 0)
    return screen


def runs(cells):
    """The row's cells with the same look, together: where they begin, their text, colour and weight."""
    begin = 0
    looks = [((cells[x].bg if cells[x].reverse else cells[x].fg), cells[x].bold) for x in range(COLUMNS)]
    for x in range(1, COLUMNS + 1):
        if x == COLUMNS or looks[x] != looks[begin]:
            text = "".join(cells[at].data for at in range(begin, x))
            if text.strip():
                yield begin + len(text) - len(text.lstrip()), text.strip(), *looks[begin]
            begin = x


def main():
    screen = screen_of([sys.argv[1], "top", *sys.argv[2:]])
    width, height = COLUMNS * CELL + 2 * MARGIN, LINES * LINE + 2 * MARGIN
    print(f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height}" '
          'font-family="DejaVu Sans Mono, Menlo, Consolas, monospace" font-size="14">')
    print(f'<rect width="100%" height="100%" rx="8" fill="{BACKGROUND}"/>')
    for y in range(LINES):
        for x, text, colour, bold in runs(screen.buffer[y]):
            fill = COLOURS.get(colour, f"#{colour}" if len(colour) == 6 else FOREGROUND)
            weight = ' font-weight="bold"' if bold else ""
            print(f'<text x="{MARGIN + x * CELL:.1f}" y="{MARGIN + y * LINE + 14}" fill="{fill}"{weight} '
                  f'textLength="{len(text) * CELL:.1f}" xml:space="preserve">{html.escape(text)}</text>')
    print("</svg>")


main()
