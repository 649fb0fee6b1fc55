"""Every fault by its name, in the order in which they are played."""

from tests.chaos.faults import redis, workers
from tests.chaos.scene import Fault

FAULTS: dict[str, Fault] = {fault.name: fault for module in (workers, redis) for fault in module.FAULTS}
