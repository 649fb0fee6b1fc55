"""Every fault by its name, in the order in which they are played."""

from tests.chaos.faults import api, cancels, clocks, doorbells, network, receivers, redis, storage, versions, workers
from tests.chaos.scene import Fault

FAULTS: dict[str, Fault] = {
    fault.name: fault
    for module in (workers, cancels, doorbells, api, redis, network, receivers, storage, versions, clocks)
    for fault in module.FAULTS
}
