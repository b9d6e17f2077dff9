"""Readers of data files, one module a format."""

from weft.data.files import arff, csv, hdf5, npy, npz, parquet, root
from weft.data.files._base import READERS, Content, read, reader
from weft.data.files.npy import read_pair

__all__ = ["READERS", "Content", "arff", "csv", "hdf5", "npy", "npz", "parquet", "read", "read_pair", "reader", "root"]
