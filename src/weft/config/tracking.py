"""Section `tracking`: whether a run is also written to MLflow."""

from __future__ import annotations

from pydantic import Field, model_validator

from weft.config._base import Section, refuse


class TrackingConfig(Section):
    """Tracking outside the run directory."""

    mlflow: bool = Field(default=False, description="Whether parameters, metrics and files are written to MLflow.")
    uri: str | None = Field(
        default=None, description="Tracking store of MLflow; null: a SQLite file in the run directory."
    )

    @model_validator(mode="after")
    def _uri_is_used(self) -> TrackingConfig:
        if self.uri is not None and not self.mlflow:
            refuse([(("uri",), "is set, but mlflow is false, so nothing would be tracked; set mlflow: true")])
        return self
