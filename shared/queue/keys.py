"""Every key in Redis: pattern, type, lifetime, who deletes it. Nothing else in the product spells a key.

Keys of one request live as long as it is not final, and the retention after that; the request itself and its history
shorter where its owner wants nothing kept:

    kolors:request:{id}            hash    the request itself, its input, its outcome
    kolors:events:{id}             stream  its history, what SSE replays
    kolors:claim:{claim}           string  id of the request that this claim got, as long as a lease: an answer was lost
    kolors:idempotency:{sha256}    string  "{id} {sha256 of the body}", by tenant and Idempotency-Key

Indexes. Their members go when the request leaves the state that put them there:

    kolors:queue                   zset    id → place (lane, then fair tag)   queued, ready to be claimed
    kolors:row:{row}               zset    id → place                         the same of {crashes}:{lane}:{tenant}
    kolors:heads                   zset    "{id} {row}" → place               the first of each row
    kolors:delayed                 zset    id → ms                            queued, not before that time
    kolors:tenant:{lane}:{tenant}  zset    id → place                         queued in any way, of one tenant
    kolors:parked:{tenant}         zset    id → place                         queued, but its tenant runs all it may
    kolors:parking                 set     tenant                             has parked ones
    kolors:running:{tenant}        set     id                                 running, of a tenant with a limit
    kolors:deadlines               zset    id → ms                            queued, with a timeout
    kolors:leases                  zset    id → ms                            running
    kolors:held:{worker}           zset    id → crashes                       running in one worker
    kolors:webhooks                zset    id → ms                            final, webhook not yet settled
    kolors:files                   zset    file key → ms                      until the courier deleted the file
    kolors:quarantine              zset    id → ms                            failed by crashes, till struck off or gone
    kolors:workers                 zset    worker → ms                        pruned by every renewal
    kolors:worker:{name}           string  presence, JSON; lives as long as a lease

Counters and constants, a handful, never deleted:

    kolors:finish:{lane}           zset    tenant → finish tag                pruned by every claim
    kolors:virtual:{lane}          string  virtual time of a lane
    kolors:watched                 string  when a rescuer last looked, ms
    kolors:work                    string  step-megapixels queued
    kolors:rings                   string  doorbells rung so far
    kolors:keys                    hash    key id → JSON: digests of its secrets, its limits
    kolors:keys-version            string  counts the changes of the keys
    kolors:store                   string  id of the file store in force
    image                          list    doorbells, read by Celery

Channels: kolors:poke:{id} (something happened to a request) and kolors:cancel:{worker} (stop this request).
"""

import hashlib
from typing import Final

PREFIX: Final = "kolors:"

DOORBELL: Final = "image"
"""Celery's queue: kombu reads the list of this name."""
TASK: Final = "image.generate"

REQUEST: Final = PREFIX + "request:"
EVENTS: Final = PREFIX + "events:"
CLAIM: Final = PREFIX + "claim:"
IDEMPOTENCY: Final = PREFIX + "idempotency:"
QUEUE: Final = PREFIX + "queue"
ROW: Final = PREFIX + "row:"
HEADS: Final = PREFIX + "heads"
DELAYED: Final = PREFIX + "delayed"
TENANT: Final = PREFIX + "tenant:"
PARKED: Final = PREFIX + "parked:"
PARKING: Final = PREFIX + "parking"
RUNNING: Final = PREFIX + "running:"
DEADLINES: Final = PREFIX + "deadlines"
LEASES: Final = PREFIX + "leases"
HELD: Final = PREFIX + "held:"
WEBHOOKS: Final = PREFIX + "webhooks"
FILES: Final = PREFIX + "files"
QUARANTINE: Final = PREFIX + "quarantine"
WORKERS: Final = PREFIX + "workers"
WORKER: Final = PREFIX + "worker:"
FINISH: Final = PREFIX + "finish:"
VIRTUAL: Final = PREFIX + "virtual:"
WATCHED: Final = PREFIX + "watched"
WORK: Final = PREFIX + "work"
RINGS: Final = PREFIX + "rings"
STORE: Final = PREFIX + "store"
KEYS: Final = PREFIX + "keys"
KEYS_VERSION: Final = PREFIX + "keys-version"
POKE: Final = PREFIX + "poke:"
CANCEL: Final = PREFIX + "cancel:"

IN_LUA: Final = {
    "request": REQUEST,
    "events": EVENTS,
    "claim": CLAIM,
    "queue": QUEUE,
    "row": ROW,
    "heads": HEADS,
    "delayed": DELAYED,
    "tenant": TENANT,
    "parked": PARKED,
    "parking": PARKING,
    "running": RUNNING,
    "deadlines": DEADLINES,
    "leases": LEASES,
    "held": HELD,
    "webhooks": WEBHOOKS,
    "files": FILES,
    "quarantine": QUARANTINE,
    "workers": WORKERS,
    "worker": WORKER,
    "finish": FINISH,
    "virtual": VIRTUAL,
    "watched": WATCHED,
    "work": WORK,
    "rings": RINGS,
    "store": STORE,
    "doorbell": DOORBELL,
    "poke": POKE,
    "cancel": CANCEL,
}
"""The table `K` of the scripts: what they touch without being told, or whose last part they learn inside."""

PERSISTENT: Final = frozenset(
    {
        QUEUE,
        HEADS,
        DELAYED,
        PARKING,
        DEADLINES,
        LEASES,
        WEBHOOKS,
        FILES,
        QUARANTINE,
        WORKERS,
        WATCHED,
        WORK,
        RINGS,
        STORE,
        KEYS,
        KEYS_VERSION,
        DOORBELL,
    }
    | {f"{prefix}{lane}" for prefix in (FINISH, VIRTUAL) for lane in (0, 1)}
)
"""The keys that may stand without a TTL. Besides them: what belongs to a request that is not final."""


def request(id: str) -> str:
    return REQUEST + id


def events(id: str) -> str:
    return EVENTS + id


def idempotency(tenant: str, key: str) -> str:
    """One tenant's key says nothing about another's; what a client wrote never becomes part of a key."""
    return IDEMPOTENCY + hashlib.sha256(f"{tenant}\0{key}".encode()).hexdigest()


def claim(claim: str) -> str:
    return CLAIM + claim


def poke(id: str) -> str:
    return POKE + id


def cancel(worker: str) -> str:
    return CANCEL + worker
