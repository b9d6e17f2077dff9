"""Section `tracking`: whether a run is also written to MLflow, and where."""

from __future__ import annotations

import re

from pydantic import Field, model_validator

from weft.section import Section, refuse

STORES = ("sqlite", "postgresql", "mysql", "mssql", "http", "https", "databricks")
"""What an address begins with, before `:` or a driver's name."""


class TrackingConfig(Section):
    """Tracking outside the run directory."""

    mlflow: bool = Field(default=False, description="Whether parameters, metrics and files are written to MLflow.")
    uri: str | None = Field(
        default=None,
        description="MLflow's store, such as sqlite:///all.db, or its server; null: mlflow.db in the run directory.",
    )
    experiment: str = Field(default="weft", min_length=1, description="The experiment of MLflow that runs belong to.")

    @model_validator(mode="after")
    def _uri_is_used(self) -> TrackingConfig:
        if self.uri is None:
            return self
        if not self.mlflow:
            refuse([(("uri",), "is set, but mlflow is false, so nothing would be tracked; set mlflow: true")])
        if not re.match(rf"(?:{'|'.join(STORES)})(?:\+\w+)?(?::|$)", self.uri):
            message = f"is no store of MLflow; write sqlite:///PATH, or a server as http://HOST:PORT; got '{self.uri}'"
            refuse([(("uri",), message)])
        return self
