"""A page's badge: which weights and pictures stand in for those wanted, once, under the title.

Chapters print that sentence where they load a backbone or a data set, as it should be in a notebook. On the page it
moves to the top, where every reader sees it before the first number.
"""

import html
import re
from typing import Any

from docutils import nodes

NOTICE = re.compile(r"^These (?:numbers come from|pictures are) .+?$\n*", re.MULTILINE)
"""How `weights.available_backbone` and `data.cifar10_or_patterns` say that something stands in."""


def put_notices_on_top(app: Any, doctree: nodes.document) -> None:
    """Move each sentence of a notice from the outputs of cells to one line under the title."""
    title, said = doctree.next_node(nodes.title), []
    for block in list(doctree.findall(nodes.literal_block)):
        text = block.astext()
        found = NOTICE.findall(text) if "stream" in block["classes"] else []
        if not found or title is None:
            continue
        said += [sentence.strip() for sentence in found]
        rest = NOTICE.sub("", text)
        if rest.strip():
            block.rawsource, block.children = rest, []
            block += nodes.Text(rest)
        else:
            remove_with_empty_parents(block)
    if said:
        line = f'<p class="origin">{html.escape(" ".join(dict.fromkeys(said)), quote=False)}</p>'
        badge = nodes.raw(
            "", line, format="html"
        )  # the page's description for link previews leaves raw text out
        title.parent.insert(title.parent.index(title) + 1, badge)


def remove_with_empty_parents(node: nodes.Element) -> None:
    """Take a node out of its page, and with it each container that it leaves empty."""
    parent = node.parent
    parent.remove(node)
    while isinstance(parent, nodes.container) and not parent.children:
        node, parent = parent, parent.parent
        parent.remove(node)
