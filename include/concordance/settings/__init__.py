"""One frozen, validated settings object, read once at the entry point and handed down as an argument.

Each value comes from the first of: an override (Airflow's Connections, a test), the environment
(`AIRFLOW__CONCORDANCE__<NAME>`), the `[concordance]` section of airflow.cfg, the secrets file that the local stack
wrote (secrets only), the default. Airflow itself is not imported. Units stand in the names; every limit of the product
stands here. `python -m concordance settings` prints the effective values, where each came from, and masks the secrets.
"""

from concordance.settings.explaining import ENVIRONMENT_PREFIX
from concordance.settings.loading import SECTION, Origin, explain_settings, load_settings
from concordance.settings.stores import ROOT
from concordance.settings.values import Settings

__all__ = ["ENVIRONMENT_PREFIX", "ROOT", "SECTION", "Origin", "Settings", "explain_settings", "load_settings"]
