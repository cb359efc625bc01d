"""reStructuredText to HTML by docutils, with everything off that reads files or passes raw markup.

The native parser's own reading of reStructuredText breaks list items at their line ends and leaves targets and
substitutions unresolved; docutils is the format's definition. The HTML then takes the way of every page. Sphinx's roles
and directives, which docutils does not know, are read for their text. Loaded in the child process only.
"""

from __future__ import annotations

import mimetypes
import re
from functools import lru_cache
from typing import Any

import docutils.nodes
from docutils.core import Publisher, publish_doctree, publish_from_doctree
from docutils.frontend import Values
from docutils.parsers import rst
from docutils.parsers.rst import Directive, directives, roles
from docutils.readers import doctree, standalone
from docutils.writers import html5_polyglot, null

# docutils asks what kind of file an image is; the tables of this machine have no say in what a document becomes, and
# cannot be opened.
mimetypes.knownfiles.clear()

_SETTINGS = {
    "_disable_config": True,
    "file_insertion_enabled": False,
    "raw_enabled": False,
    "report_level": 5,
    "halt_level": 5,
    "line_length_limit": 1_000_000,
    "syntax_highlight": "none",
    "smart_quotes": False,
    "doctitle_xform": True,
    "sectsubtitle_xform": False,
    "initial_header_level": 2,
    "toc_backlinks": False,
    "math_output": "LaTeX",
    "stylesheet_path": "",
    "embed_stylesheet": False,
    "input_encoding": "unicode",
    "output_encoding": "unicode",
}
_ROLE = re.compile(r":([a-zA-Z][\w.+-]*(?::[a-zA-Z][\w.+-]*)*):`")
_DIRECTIVE = re.compile(
    r"^[ \t]*\.\. +(?:\|[^|\n]{1,200}\| +)?([a-zA-Z][\w.+-]*(?::[a-zA-Z][\w.+-]*)*)::", re.MULTILINE
)
# Directives that only build navigation or pull code in: nothing of their own to read.
_EMPTY = frozenset(
    {"toctree", "contents", "sectnum", "index", "meta", "raw", "include", "highlight", "tableofcontents"}
)


def to_html(text: str) -> str:
    """The document as the body of an HTML page, its title as `h1`."""
    before = [
        (registry, dict(registry)) for registry in (_registry(roles, "_roles"), _registry(directives, "_directives"))
    ]
    try:
        _allow_unknown(text)
        tree = publish_doctree(text, settings=_settings("doctree").copy())
        for node in list(tree.findall(_is_noise)):
            node.parent.remove(node)
        writer = html5_polyglot.Writer()
        writer.translator_class = _Translator
        publish_from_doctree(tree, writer=writer, settings=_settings("html").copy())
        return str(writer.parts["html_body"])
    finally:
        # A role that one document defines must not be there for the next: its text would depend on their order.
        for registry, known in before:
            registry.clear()
            registry.update(known)


@lru_cache(maxsize=2)
def _settings(step: str) -> Values:
    """What docutils makes of the settings for one of its two steps: twenty milliseconds, and the same each time."""
    if step == "doctree":
        publisher = Publisher(standalone.Reader(), rst.Parser(), null.Writer())
    else:
        publisher = Publisher(doctree.Reader(), writer=html5_polyglot.Writer())
    publisher.process_programmatic_settings(None, _SETTINGS, None)
    settings: Any = publisher.settings
    assert isinstance(settings, Values)
    return settings


def _registry(module: Any, name: str) -> dict[str, Any]:
    """One of docutils' tables of names; it offers no other way to ask whether a name is known, or to forget one."""
    table: dict[str, Any] = vars(module)[name]
    return table


def _is_noise(node: docutils.nodes.Node) -> bool:
    if isinstance(node, docutils.nodes.topic):
        return "contents" in node["classes"]
    return isinstance(node, docutils.nodes.system_message | docutils.nodes.comment | docutils.nodes.docinfo)


def _allow_unknown(text: str) -> None:
    from docutils.parsers.rst.languages import en

    for name in set(_ROLE.findall(text)):
        if name not in _registry(roles, "_role_registry") and name not in en.roles:
            _registry(roles, "_roles")[name] = _role
    for name in set(_DIRECTIVE.findall(text)):
        if name in _EMPTY or (name not in _registry(directives, "_directive_registry") and name not in en.directives):
            directives.register_directive(name, _Nothing if name in _EMPTY else _Content)


def _role(
    name: str, rawtext: str, text: str, lineno: int, inliner: Any, options: Any = None, content: Any = None
) -> tuple[list[docutils.nodes.Node], list[docutils.nodes.system_message]]:
    """`:func:`~a.b`` reads `b`, `:ref:`text <label>`` reads `text`."""
    stated = text.replace("\x00", "")
    label = re.fullmatch(r"(.+?)\s*<[^<>]*>", stated, re.DOTALL)
    shown = label[1] if label else stated
    if shown.startswith("~"):
        shown = shown.rpartition(".")[2]
    if name.rpartition(":")[2] in ("ref", "doc", "term", "any", "numref"):
        return [docutils.nodes.Text(shown)], []
    return [docutils.nodes.literal(rawtext, shown)], []


class _Content(Directive):
    """An unknown directive: its argument and its content are read, its options are not."""

    optional_arguments = 1
    final_argument_whitespace = True
    has_content = True

    option_spec = None

    def run(self) -> list[docutils.nodes.Node]:
        container = docutils.nodes.container()
        if self.arguments:
            inline, _ = self.state.inline_text(self.arguments[0], self.lineno)
            container += docutils.nodes.paragraph("", "", *inline)
        self.state.nested_parse(self.content, self.content_offset, container)
        return [container]


class _Nothing(_Content):
    def run(self) -> list[docutils.nodes.Node]:
        return []


class _Translator(html5_polyglot.HTMLTranslator):
    """Code as `code`, with its language, so that it is code in Markdown too."""

    def visit_paragraph(self, node: docutils.nodes.paragraph) -> None:
        # `<p>` in an item makes a loose list, each item a block of its own.
        if self._is_tight(node):
            return
        super().visit_paragraph(node)

    def depart_paragraph(self, node: docutils.nodes.paragraph) -> None:
        if not self._is_tight(node):
            super().depart_paragraph(node)

    def _is_tight(self, node: docutils.nodes.paragraph) -> bool:
        lists = docutils.nodes.bullet_list | docutils.nodes.enumerated_list
        item = node.parent
        return (
            isinstance(item, docutils.nodes.list_item)
            and item[0] is node
            and all(isinstance(child, lists) for child in item[1:])
        )

    def visit_literal(self, node: docutils.nodes.literal) -> None:
        self.body.append(f"<code>{self.encode(node.astext())}</code>")
        raise docutils.nodes.SkipNode

    def visit_literal_block(self, node: docutils.nodes.literal_block) -> None:
        classes: list[str] = node.get("classes", [])
        languages = [name for name in classes if name != "code"]
        language = f' class="language-{self.attval(languages[0])}"' if languages else ""
        self.body.append(f"<pre><code{language}>{self.encode(node.astext())}</code></pre>\n")
        raise docutils.nodes.SkipNode

    def visit_doctest_block(self, node: docutils.nodes.doctest_block) -> None:
        self.body.append(f"<pre><code class='language-pycon'>{self.encode(node.astext())}</code></pre>\n")
        raise docutils.nodes.SkipNode
