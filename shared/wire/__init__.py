"""Exactly what crosses HTTP, and nothing else: headers, bodies, error items, webhook payloads."""
