"""Markdown to chunks with their heading path, entity mentions and BM25 terms.

Import the module that you need: `splitter`, `entities`, `bm25`, `tokens`. Nothing is imported here, so that a search
does not load what only an ingest uses.
"""
