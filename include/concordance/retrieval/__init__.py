"""Search over the live index version: committed documents only, of one tenant, with the reader's access labels.

`concordance.retrieval.search.search` answers; it is not imported here, because what only reads the ledger (`verify`)
needs no tokeniser.
"""

from concordance.retrieval.answer import Hit, LinkedDocument, NamedEntity, SearchAnswer, SearchQuery
from concordance.retrieval.reader import LedgerReader, LedgerSnapshot

__all__ = ["Hit", "LedgerReader", "LedgerSnapshot", "LinkedDocument", "NamedEntity", "SearchAnswer", "SearchQuery"]
