"""Bytes of many formats to Markdown with headings, in a confined child process.

This package must import nothing: its pure modules are also loaded by the child process, which starts often.
"""

PARSER_REVISION = 1
"""Raised whenever the same bytes give another text: it is frozen with an index version (`IndexSettings`)."""
