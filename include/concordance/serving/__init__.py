"""What the product shows over HTTP: pages that Airflow's API server mounts.

The room knows no Airflow: who may see a page is decided by the guard, and where the ledger is by the settings, that the
application is made with.
"""
