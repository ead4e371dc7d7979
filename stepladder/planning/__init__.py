"""How fast environments, engines and a trainer would learn together, before they are bought: a simulation of events.

`stepladder.planning.simulation.predict` takes a `Pipeline` (`settings`), parts of which a run can show (`measured`).
"""
