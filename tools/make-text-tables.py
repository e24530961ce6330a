#!/usr/bin/env python3
"""Writes src/data/text_tables.inc: what the tokenizer's text cleaning must know of HTML and Unicode, read out
of Python itself, whose str.lower() and html.unescape() the cleaning has to equal.
Usage: tools/make-text-tables.py > src/data/text_tables.inc"""
import html
import sys
import unicodedata
from html.entities import html5

POINTS = [c for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]


def emit(head, rows):
    print(head)
    line = "   "
    for row in rows:
        if len(line) + 1 + len(row) > 110:
            print(line)
            line = "   "
        line += " " + row
    print(line + "\n};\n")


def entities():
    names = sorted(k[:-1] for k in html5 if k.endswith(";"))
    assert all(k.endswith(";") or html5[k] == html5[k + ";"] for k in html5) and max(map(len, names)) <= 32
    rows = []
    for k in names:
        cp = [ord(c) for c in html5[k + ";"]] + [0]
        rows.append('{"%s", %#x, %#x, %d},' % (k, cp[0], cp[1], k in html5))
    emit("/* name, code points, may it stand without ';'; sorted by name */\n"
         "static const struct { const char *name; uint32_t first, second, bare; } entity[] = {", rows)
    emit("/* &#128; to &#159; */\nstatic const uint16_t charref_80[] = {",
         ["%#x," % ord(html.unescape("&#%d;" % c)) for c in range(0x80, 0xA0)])


def lower():
    runs = []
    for c in POINTS:
        low = chr(c).lower()
        if low == chr(c) or len(low) != 1 or c == 0x3A3:
            continue
        d = ord(low) - c
        if runs and runs[-1][3] == d and (c - runs[-1][1] == runs[-1][2] or
                                          (runs[-1][0] == runs[-1][1] and c - runs[-1][1] <= 2)):
            runs[-1][2] = c - runs[-1][1]
            runs[-1][1] = c
        else:
            runs.append([c, c, 1, d])
    emit("/* first, last, step, what to add; U+0130 and U+03A3 are in the code */\n"
         "static const struct { uint32_t first, last, step; int32_t add; } lower_run[] = {",
         ["{%#x, %#x, %d, %d}," % tuple(r) for r in runs])


def sigma():
    """How a neighbour of U+03A3 counts, found by asking str.lower()."""
    ranges = []
    for c in POINTS:
        cased = (chr(c) + "\u03a3").lower()[-1] == "\u03c2"
        ignorable = not cased and ("A" + chr(c) + "\u03a3").lower()[-1] == "\u03c2"
        if not cased and not ignorable:
            continue
        if ranges and ranges[-1][1] == c - 1 and ranges[-1][2] == ignorable:
            ranges[-1][1] = c
        else:
            ranges.append([c, c, ignorable])
    emit("/* first, last, 1: skipped when a capital sigma looks for a letter beside it; 0: such a letter */\n"
         "static const struct { uint32_t first, last, ignorable; } sigma_range[] = {",
         ["{%#x, %#x, %d}," % tuple(r) for r in ranges])


print("/* Made by tools/make-text-tables.py from Python's html.entities and Unicode %s; do not edit. */\n"
      "/* clang-format off */\n" % unicodedata.unidata_version)
entities()
lower()
sigma()
sys.stdout.write("/* clang-format on */\n")
