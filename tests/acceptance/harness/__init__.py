"""What the acceptance tests stand on: a whole running system, callers of it, pictures, and waiting with a deadline.

Nothing here imports the product: the tests see it only as its users do.
"""
