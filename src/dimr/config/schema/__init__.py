"""The configuration's sections: names, types, units and limits. Unknown keys are refused."""

# ruff: noqa: F403
from dimr.config.schema.base import *
from dimr.config.schema.data import *
from dimr.config.schema.human_study import *
from dimr.config.schema.networks import *
from dimr.config.schema.params import *
from dimr.config.schema.phases import *
from dimr.config.schema.runs import *
from dimr.config.schema.text import *
