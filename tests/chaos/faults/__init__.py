"""Every fault by its name, in the order in which they are played."""

from tests.chaos.faults import api, clocks, doorbells, network, receivers, redis, storage, versions, workers
from tests.chaos.scene import Fault

FAULTS: dict[str, Fault] = {
    fault.name: fault
    for module in (workers, doorbells, api, redis, network, receivers, storage, versions, clocks)
    for fault in module.FAULTS
}
