"""Manual pages as paragraphs of plain text.

Not a roff: it keeps what reads as prose, and leaves out headings, tags of lists, tables, code and what it cannot tell.
"""
import re

# Paragraphs end here.
BREAKS = {"PP", "P", "LP", "TP", "TQ", "IP", "HP", "SH", "SS", "br", "sp", "RS", "RE", "in", "ti", "TH", "PD", "UR", "UE",
          "MT", "ME", "SY", "YS", "OP", "EE", "fi"}
# The words of these belong to the text: in one font, or in alternating fonts without spaces between.
ONE_FONT = {"B", "I", "SM", "SB", "R"}
ALTERNATING = {"BR", "RB", "BI", "IB", "IR", "RI"}
# From one of these to its end, nothing is prose.
BLOCKS = {"nf": "fi", "EX": "EE", "TS": "TE", "EQ": "EN", "ig": ".", "de": ".", "de1": ".", "am": ".", "SY": "YS"}

NAMED = {"aq": "'", "oq": "\u2018", "cq": "\u2019", "lq": "\u201c", "rq": "\u201d", "dq": '"', "em": "\u2014", "en": "\u2013",
         "bu": "", "co": "\u00a9", "Fo": "\u00ab", "Fc": "\u00bb", "ga": "`", "ha": "^", "ti": "~", "rs": "\\", "hy": "-",
         "mi": "-", "la": "<", "ra": ">", "at": "@", "sh": "#", "Bq": "\u201e", "mc": "\u00b5", "de": "\u00b0", "->": "\u2192"}
ESCAPE = re.compile(r"""\\(?:
    f(?:\((..)|\[[^\]]*\]|.)                  # font
  | \((?P<two>..) | \[(?P<long>[^\]]*)\]      # named character
  | \*(?:\(..|\[[^\]]*\]|.)                   # string
  | s[-+]?(?:\d{1,2}|\[[^\]]*\])              # size
  | [hvwlLDXZoYkmnM](?:'[^']*'|\(..|\[[^\]]*\])  # motions and the like
  | (?P<one>.)
)""", re.X)
ONES = {"-": "-", "e": "\\", "~": " ", " ": " ", "0": " ", "'": "'", "`": "`", "\\": "\\", "t": " "}


def plain(text):
    """A line without roff's escapes."""
    def character(match):
        name = match.group("two") or match.group("long")
        if name is not None:
            if re.fullmatch(r"u[0-9A-F]{4,6}", name):
                code = int(name[1:], 16)
                return chr(code) if code < 0x110000 and not 0xd800 <= code < 0xe000 else ""
            return NAMED.get(name, "")
        return ONES.get(match.group("one") or "", "")
    return ESCAPE.sub(character, re.sub(r'\\"[^\n]*|\\#.*', "", text))


def arguments(text):
    """Words of a macro's line; "quoted ones" are one."""
    return [quoted.replace('""', '"') if quoted or not bare else bare
            for quoted, bare in re.findall(r'"((?:[^"]|"")*)"?|((?:\\ |\S)+)', text)]


def paragraphs(page):
    """The text of a page, or of a page in mdoc nothing."""
    if re.search(r"^\.Dd\b", page, re.M):
        return
    words, until, tag = [], None, False
    for line in page.split("\n"):
        macro = re.match(r"[.']\s*(\S*)\s*(.*)", line)
        name = macro.group(1) if macro else None
        if until is not None:
            if name == until:
                until = None
            continue
        if name in BLOCKS:
            until = BLOCKS[name]
        if name in BREAKS or name in BLOCKS or not line.strip() or line[0] in " \t":
            if words:
                yield " ".join(words)
            words, tag = [], name in ("TP", "TQ")
            continue
        if name is None:
            text = plain(line)
        elif name in ONE_FONT:
            text = " ".join(plain(word) for word in arguments(macro.group(2)))
        elif name in ALTERNATING:
            text = "".join(plain(word) for word in arguments(macro.group(2)))
        else:
            continue
        if tag:  # the line after .TP is the tag
            tag = False
            continue
        if text.strip():
            words.append(text.strip())
    if words:
        yield " ".join(words)
