"""The embedded stack of one machine: PostgreSQL, a Bolt graph and the Qdrant gateway as supervised processes.

The same wire protocols as production, from packages alone; only addresses differ. Everything listens on the loopback
address, is kept up by supervisord, and keeps its state and its generated secrets under `settings.state_dir`.
"""
