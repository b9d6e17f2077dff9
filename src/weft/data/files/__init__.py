"""Readers of data files, one module a format."""

from weft.data.files import arff, csv, hdf5, npy, npz, parquet
from weft.data.files._base import READERS, ROOT, Content, read, reader
from weft.data.files.npy import read_pair

__all__ = ["READERS", "ROOT", "Content", "arff", "csv", "hdf5", "npy", "npz", "parquet", "read", "read_pair", "reader"]
