"""The lab: one bad link for everything."""
