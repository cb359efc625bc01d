"""What expires: artefacts that nothing needs, the ledger's own past, alerts that are over, and logs."""
