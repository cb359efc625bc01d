"""Whoever looks from outside at Airflow, the stores and the ledger, and says what is wrong."""
