"""Training small real networks in low precision: what an accuracy limit rests on, measured (needs ``dse[torch]``)."""
