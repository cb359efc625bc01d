"""Index versions: building the next one beside the live one, checking it, swapping them, going back, dropping."""
