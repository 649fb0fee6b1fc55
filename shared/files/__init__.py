"""Where pictures and uploads live: one protocol, two stores, one contract suite."""
