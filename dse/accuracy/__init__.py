"""Sensitivity profiles, the accuracy that they predict, and how far the prediction can be trusted."""

from dse.accuracy.law.law import Law, load_law
from dse.accuracy.law.recipe import Recipe, Rounded
from dse.accuracy.predictor import LINKS, compare_links, fit_link, leave_one_out
from dse.accuracy.profiles.loading import load_profile
from dse.accuracy.profiles.profile import Profile, forward_width

__all__ = [
    "LINKS",
    "Law",
    "Profile",
    "Recipe",
    "Rounded",
    "compare_links",
    "fit_link",
    "forward_width",
    "leave_one_out",
    "load_law",
    "load_profile",
]
