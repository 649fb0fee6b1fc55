"""One module per origin of the wire: queue, run, storage and files, proxy, operations."""
