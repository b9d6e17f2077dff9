"""Conformance suites that authors of plug-ins run: what weft takes for granted of a plug-in is checked by name."""
