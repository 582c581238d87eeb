"""Every link of every Markdown file that git knows: files that are there, headings that are there."""

import pathlib
import re
import subprocess
import urllib.parse

FENCE = re.compile(r"^(```|~~~).*?^\1", re.M | re.S)
LINK = re.compile(r"\[[^\[\]]*(?:\[[^\[\]]*\][^\[\]]*)*\]\(([^()\s]+)\)|^\[[^\[\]]+\]: (\S+)", re.M)


def anchors(text):
    """As forges make them of headings: lower case, without what is neither letter, digit, `-`, `_` nor space."""
    seen, found = {}, set()
    for heading in re.findall(r"^#{1,6} +(.+?) *#*$", FENCE.sub("", text), re.M):
        heading = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
        anchor = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        count = seen.get(anchor, 0)
        seen[anchor] = count + 1
        found.add(anchor if count == 0 else f"{anchor}-{count}")
    return found


def broken(repository):
    files = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"], cwd=repository, check=True, capture_output=True, text=True).stdout.split("\n")
    wrong, texts = [], {}
    for name in filter(None, files):
        path = pathlib.Path(repository, name)
        text = path.read_text()
        for target in (one or other for one, other in LINK.findall(re.sub(r"`[^`\n]*`", lambda code: code[0].replace("[", " ").replace("(", " "), FENCE.sub("", text)))):
            where = urllib.parse.urlsplit(target)
            # Out of the repository is for another day: CI may have no network.
            if where.scheme or where.netloc or target.startswith("<"):
                continue
            to = (path.parent / urllib.parse.unquote(where.path)).resolve() if where.path else path
            if not to.exists():
                wrong.append(f"{name}: {target} is not there")
            elif where.fragment and to.suffix == ".md":
                texts.setdefault(to, anchors(to.read_text()))
                if urllib.parse.unquote(where.fragment) not in texts[to]:
                    wrong.append(f"{name}: {target} names no heading of it")
    return wrong
