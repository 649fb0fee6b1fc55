"""Webhook receivers that do not behave: their manners are `world`'s, a round is that one of them was met."""

from tests.chaos.scene import PATIENCE_S, Fault, Scene


def _meeting(manner: str, what: str) -> Fault:
    async def inject(scene: Scene) -> None:
        world = scene.stage.world
        before = world.met[manner]

        async def met() -> bool:
            return world.met[manner] > before

        await scene.stage.until(met, f"a receiver is {manner}", PATIENCE_S)
        scene.note(f"a receiver was {manner}")

    return Fault(f"webhook-{manner}", f"webhook receivers {what}", inject, hook=manner)


FAULTS = [
    _meeting("hanging", "do not answer"),
    _meeting("failing", "answer 500"),
    _meeting("redirecting", "redirect inward"),
    _meeting("flooding", "answer with a gigabyte"),
]
