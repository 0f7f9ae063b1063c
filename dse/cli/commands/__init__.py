"""The commands, in the order in which ``dse --help`` lists them. What is heavy is imported inside of them, so that it is quick."""

# isort: off
from dse.cli.commands import search
from dse.cli.commands import costs
from dse.cli.commands import networks
from dse.cli.commands import measured
from dse.cli.commands import results
from dse.cli.commands import published
# isort: on

__all__ = ["costs", "measured", "networks", "published", "results", "search"]
