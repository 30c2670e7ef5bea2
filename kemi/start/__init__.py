"""From the settings to a running Kamailio."""
