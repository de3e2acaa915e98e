"""The READMEs as they stand, by folder, and their generated blocks by name."""

from __future__ import annotations

from pathlib import Path

from shared.docs import readme
from shared.processes import ROOT

ENGLISH = {
    folder.relative_to(ROOT): (folder / readme.ENGLISH).read_text() for folder in readme.FOLDERS
}
CHINESE = {
    folder: (ROOT / folder / readme.CHINESE).read_text(encoding="utf-8") for folder in ENGLISH
}
HOME = Path()
README = ENGLISH[HOME]
BLOCKS = {
    name: block for text in ENGLISH.values() for name, block in readme.blocks_of(text).items()
}
ALL = {
    path.relative_to(ROOT): path.read_text(encoding="utf-8")
    for folder in (".", "raw_pytorch", "lightning", "shared", "shared/*", "tests")
    for path in ROOT.glob(f"{folder}/README*.md")
}
