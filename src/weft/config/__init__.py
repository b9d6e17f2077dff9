"""The experiment file: its sections, its defaults, and how it is read and written."""

from __future__ import annotations

from weft.choice import Categorical, Choice, Range, one_of
from weft.config.compress import (
    BetaRamp,
    BudgetCompression,
    CompressConfig,
    FitCompression,
    FixedCompression,
    HgqCompression,
    ImpCompression,
    NoCompression,
    Precision,
    SeveralCompression,
    SizeTarget,
    StepsCompression,
)
from weft.config.constraint import Constraint, parse_constraints
from weft.config.cost import CostConfig
from weft.config.data import XY, DataConfig, FilesConfig, RowsConfig, WindowConfig
from weft.config.experiment import Experiment
from weft.config.firmware import FirmwareConfig, RtlConfig, SolverConfig, VerifyConfig
from weft.config.hls import HlsConfig
from weft.config.load import dump, load, loads, presets, resolve, schema, source_text
from weft.config.migrate import MIGRATIONS, migrate
from weft.config.parts import PARTS, Part, find_part
from weft.config.search import BaselineConfig, SearchConfig
from weft.config.select import SelectConfig
from weft.config.space import (
    FixedQuantization,
    FloatQuantization,
    HgqQuantization,
    MlpBlock,
    OptimizerSpace,
    QuantizationSpace,
    SpaceConfig,
)
from weft.config.stages import PruneConfig, StagesConfig
from weft.config.target import BudgetConfig, TargetConfig
from weft.config.tracking import TrackingConfig
from weft.config.training import (
    ConstantSchedule,
    CosineSchedule,
    EarlyStopping,
    PlateauSchedule,
    RestartsSchedule,
    Schedule,
    TrainingConfig,
)
from weft.config.tune import TuneConfig
from weft.section import Section

__all__ = [
    "MIGRATIONS",
    "PARTS",
    "XY",
    "BaselineConfig",
    "BetaRamp",
    "BudgetCompression",
    "BudgetConfig",
    "Categorical",
    "Choice",
    "CompressConfig",
    "ConstantSchedule",
    "Constraint",
    "CosineSchedule",
    "CostConfig",
    "DataConfig",
    "EarlyStopping",
    "Experiment",
    "FilesConfig",
    "FirmwareConfig",
    "FitCompression",
    "FixedCompression",
    "FixedQuantization",
    "FloatQuantization",
    "HgqCompression",
    "HgqQuantization",
    "HlsConfig",
    "ImpCompression",
    "MlpBlock",
    "NoCompression",
    "OptimizerSpace",
    "Part",
    "PlateauSchedule",
    "Precision",
    "PruneConfig",
    "QuantizationSpace",
    "Range",
    "RestartsSchedule",
    "RowsConfig",
    "RtlConfig",
    "Schedule",
    "SearchConfig",
    "Section",
    "SelectConfig",
    "SeveralCompression",
    "SizeTarget",
    "SolverConfig",
    "SpaceConfig",
    "StagesConfig",
    "StepsCompression",
    "TargetConfig",
    "TrackingConfig",
    "TrainingConfig",
    "TuneConfig",
    "VerifyConfig",
    "WindowConfig",
    "dump",
    "find_part",
    "load",
    "loads",
    "migrate",
    "one_of",
    "parse_constraints",
    "presets",
    "resolve",
    "schema",
    "source_text",
]
