"""The contract suites are modules of their own: their assertions are rewritten like those of test files."""

import pytest

pytest.register_assert_rewrite(
    "contract.embedder_contract", "contract.graph_contract", "contract.source_contract", "contract.vector_contract"
)
