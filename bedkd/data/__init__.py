"""Data sets with the columns ``text``, ``label`` and ``poisoned``, wherever they come from.

A name (``sst2``, ``olid``, ``agnews``, or an embedded task: ``reviews``, ``chat``, ``topics``), a
file, a folder in the OpenBackdoor layout or of ``save_to_disk``, or a hub id: :func:`load` takes
all of them. Real data sets are looked for in the folder ``BEDKD_DATA_DIR`` first and on the hub (at
a pinned revision) second. ``poisoned`` is true, false, or None where a file does not say.
"""

from bedkd.data.columns import Columns, label_names
from bedkd.data.formats import read, read_openbackdoor, write

# The function takes the submodule's name here: `bedkd.data.normalise` is the function.
from bedkd.data.normalise import normalise, normalised
from bedkd.data.rows import (
    FEATURES,
    SPLITS,
    balanced_split,
    checked_num_labels,
    fingerprint_rows,
    make,
    num_labels,
)
from bedkd.data.sources import (
    SOURCES,
    Source,
    available,
    check,
    data_dir,
    is_hub_id,
    is_saved,
    load,
    local_files,
    read_saved,
)

__all__ = [
    "FEATURES",
    "SOURCES",
    "SPLITS",
    "Columns",
    "Source",
    "available",
    "balanced_split",
    "check",
    "checked_num_labels",
    "data_dir",
    "fingerprint_rows",
    "is_hub_id",
    "is_saved",
    "label_names",
    "load",
    "local_files",
    "make",
    "normalise",
    "normalised",
    "num_labels",
    "read",
    "read_openbackdoor",
    "read_saved",
    "write",
]
